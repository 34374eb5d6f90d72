"""The command line's frame: exit codes, errors as sentences, global options anywhere, foreign packages refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import typer

from bus.cli import context, main
from bus.errors import BusError, CheckFailed, Finding, Refused, Unreachable, UsageError
from schemas.errors import UnknownType

Outcome = Callable[[], None]


def running(monkeypatch: pytest.MonkeyPatch, behave: Outcome) -> None:
    """Make `agencybus act` do `behave`, beside nothing else."""

    def build() -> typer.Typer:
        app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
        app.callback()(main._globals)
        app.command("act")(behave)
        return app

    monkeypatch.setattr(main, "build", build)


def raising(error: BaseException) -> Outcome:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BusError("It failed.", remedy="Do this."), 1, "error: It failed.\nDo this.\n"),
        (Refused("No."), 1, "error: No.\n"),
        (UsageError("Wrong."), 2, "error: Wrong.\n"),
        (CheckFailed([Finding("f", 3, "r", "bad.", "Fix.")]), 3, "error: f:3: bad. [r] Fix.\n"),
        (Unreachable("Gone."), 4, "error: Gone.\n"),
        (UnknownType("No such type"), 1, "error: No such type\n"),
        (FileNotFoundError(2, "No such file or directory", "x.csv"), 1, "error: x.csv: No such file or directory\n"),
        (KeyboardInterrupt(), 130, ""),
        (typer.Exit(3), 3, ""),
    ],
)
def test_each_failure_has_its_exit_code_and_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    running(monkeypatch, raising(error))
    assert main.main(["act"]) == code
    assert capsys.readouterr() == ("", said)


def test_a_bug_is_a_sentence_and_a_traceback_only_with_debug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    running(monkeypatch, raising(ZeroDivisionError("division by zero")))
    assert main.main(["act"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: unexpected ZeroDivisionError: division by zero\n")
    assert "Traceback" not in said
    assert main.main(["act", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_before_any_command_runs_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "check_packages", raising(KeyboardInterrupt()))
    assert main.main([]) == 130


def test_wrong_usage_exits_two(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    running(monkeypatch, lambda: None)
    assert main.main(["nonsense"]) == 2
    assert main.main(["act", "--nonsense"]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "hoisted"),
    [
        ("act --bootstrap a:1 x", "--bootstrap a:1 act x"),
        ("act x --config=f --debug", "--config=f --debug act x"),
        ("act -- --bootstrap a:1", "act -- --bootstrap a:1"),
        ("act --bootstrap", "--bootstrap act"),
    ],
)
def test_global_options_may_stand_anywhere(given: str, hoisted: str) -> None:
    assert main._hoist(given.split()) == hoisted.split()


def test_settings_come_from_the_global_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    seen: list[str] = []

    def act(ctx: typer.Context) -> None:
        seen.append(context.settings(ctx, agency="justice").bootstrap)

    running(monkeypatch, act)  # type: ignore[arg-type]  # typer passes the context in
    assert main.main(["act", "--bootstrap", "kafka.example:9"]) == 0
    assert seen == ["kafka.example:9"]


def test_a_replaced_package_is_refused_without_running_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "strangers").mkdir()
    (tmp_path / "strangers" / "__init__.py").write_text("raise SystemExit('ran foreign code')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main, "PACKAGES", ("strangers",))
    monkeypatch.setattr(main.check_packages, "__defaults__", (("strangers",),))
    assert main.main(["--version"]) == 1
    said = capsys.readouterr().err
    assert "'strangers'" in said
    assert "not the one of agencybus" in said


def test_our_own_packages_carry_the_marker() -> None:
    main.check_packages()


def test_a_broken_extension_is_named_and_takes_nothing_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = metadata.EntryPoint("x", "no_such_package.commands:register", main.ENTRY_POINTS)
    monkeypatch.setattr(metadata, "entry_points", lambda group: [broken])
    assert main.main(["config", "show", "--json"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("{")
    assert "the commands of no_such_package.commands:register are missing: ModuleNotFoundError" in err


def test_every_declared_command_file_and_extension_loads(capsys: pytest.CaptureFixture[str]) -> None:
    main.build()
    assert capsys.readouterr().err == ""


def run(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bus.cli.main", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)  # type: ignore[call-overload, no-any-return]


def test_every_command_that_needs_a_broker_exits_four_when_none_answers() -> None:
    """As programs, since kafka-python leaves the sockets of a failed start to the garbage collector."""
    commands = [["lag", "--json"], ["topics", "plan"], ["topics", "apply"], ["doctor", "--json"]]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "bus.cli.main", *words, "--bootstrap", "127.0.0.1:1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for words in commands
    ]
    told = [child.communicate(timeout=60) for child in started]
    assert [child.returncode for child in started] == [4, 4, 4, 4]
    assert all("error: " in err and "127.0.0.1:1" in err and "Traceback" not in err for _, err in told)
    assert json.loads(told[3][0])["reachable"] is False, "doctor still tells what it can"


def test_the_program_says_its_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"agencybus {metadata.version('agencybus')}\n")


def test_help_imports_no_heavy_client() -> None:
    script = "import sys; from bus.cli import main; main.main(['--help']); print(sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = done.stderr
    for heavy in ("'kafka'", "'aiokafka'", "'faust'", "'lxml'", "'pydantic'"):
        assert heavy not in loaded


def test_a_reader_that_closes_its_end_is_no_traceback() -> None:
    script = "import os, sys; from bus.cli import main; sys.exit(main.main(['config', 'show', '--json']))"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
