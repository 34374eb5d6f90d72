"""What every command shares: settings, JSON on stdout, notes on stderr, tables for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand

from bus.cli import context
from bus.cli.context import Globals
from bus.errors import UsageError

Capture = pytest.CaptureFixture[str]
ESCAPE = "\x1b[2J"


def ctx(given: Globals | None = None) -> typer.Context:
    return typer.Context(TyperCommand("act"), obj=given)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENCYBUS__DATA_DIR", str(tmp_path))
    monkeypatch.setenv("AGENCYBUS__BOOTSTRAP", "from.environment:1")
    monkeypatch.delenv("AGENCYBUS__AGENCY", raising=False)


def test_a_global_option_wins_and_one_that_was_not_given_leaves_the_rest(tmp_path: Path) -> None:
    assert context.settings(ctx()).bootstrap == "from.environment:1"
    assert context.settings(ctx(Globals(bootstrap="from.flag:2"))).bootstrap == "from.flag:2"
    file = tmp_path / "named.toml"
    file.write_text('agency = "justice"\n')
    assert context.settings(ctx(Globals(config=file))).agency == "justice"
    assert context.settings(ctx(Globals(config=file)), agency=None).agency == "justice"
    assert context.settings(ctx(Globals(config=file)), agency="health").agency == "health"


def test_a_wrong_setting_is_a_usage_error_and_its_origin_is_known() -> None:
    with pytest.raises(UsageError, match="bootstrap"):
        context.settings(ctx(Globals(bootstrap="no address")))
    assert context.loaded(ctx(Globals(bootstrap="from.flag:2"))).origins["bootstrap"] == "flag --bootstrap"


def test_a_document_is_one_line_on_stdout_that_no_terminal_acts_on(capsys: Capture) -> None:
    document = {"name": f"Ayra ə {ESCAPE}\n", "rows": [1, None]}
    context.print_json(document)
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == (document, "")
    assert out.count("\n") == 1
    assert "ə" in out
    assert "\x1b" not in out


def test_a_note_goes_to_stderr_only_and_is_safe_to_print(capsys: Capture) -> None:
    context.note(f"topic {ESCAPE} done\nnext")
    assert capsys.readouterr() == ("", "topic \\x1b[2J done\nnext\n")


def test_a_table_shows_none_as_a_dash_and_never_as_zero(capsys: Capture) -> None:
    context.show(context.table("Lag", ["group", "lag"], [["a", 12], ["b", None], [f"c{ESCAPE}", 0]]))
    out = capsys.readouterr().out
    assert [line.split() for line in out.splitlines()] == [
        ["Lag"],
        ["group", "lag"],
        ["a", "12"],
        ["b", "–"],
        ["c\\x1b[2J", "0"],
    ]
    assert out.splitlines()[2].index("12") + 2 == out.splitlines()[3].index("–") + 1, "numbers stand under each other"


def test_a_table_without_rows_still_has_its_columns(capsys: Capture) -> None:
    context.show(context.table("", ["group", "lag"], []))
    assert capsys.readouterr().out.split() == ["group", "lag"]


def test_a_file_gets_plain_text_that_is_not_wrapped_at_the_width_of_no_terminal(capsys: Capture) -> None:
    long = "x" * 150
    context.show(f"[bold]{long}[/bold]{ESCAPE}")
    assert capsys.readouterr().out == f"[bold]{long}[/bold]\\x1b[2J\n"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, None), (0.4, "0 s"), (59.0, "59 s"), (90.0, "2 min"), (3_600.0, "1.0 h"), (200_000.0, "2.3 d")],
)
def test_an_age_is_told_as_people_say_it(seconds: float | None, words: str | None) -> None:
    assert context.age(seconds) == words
