"""What acting commands share: who acts, and a count that says how far it came."""

from __future__ import annotations

import getpass

import pytest

from bus.cli import acting
from bus.errors import Unreachable, UsageError

Capture = pytest.CaptureFixture[str]


def test_an_action_that_breaks_off_says_how_far_it_came_and_how_it_goes_on(capsys: Capture) -> None:
    def act() -> None:
        with acting.counted("Redriven", 1_200) as tell:
            tell(1_000)
            raise Unreachable("gone")

    with pytest.raises(Unreachable):
        act()
    said = capsys.readouterr()
    assert "Redriven 1,000 of 1,200. The same command goes on with the rest." in said.err
    assert said.out == ""


def test_one_that_ends_says_no_more_than_the_count(capsys: Capture) -> None:
    with acting.counted("Dropped", 2) as tell:
        tell(2)
    assert capsys.readouterr().err == "Dropped 2 of 2\n"


@pytest.mark.parametrize("words", [{"by": ""}, {"by": " "}, {"by": "x" * 101}, {"reason": ""}, {"reason": "x" * 501}])
def test_words_no_record_could_carry_are_refused(words: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="characters"):
        acting.check_words(**words)
    acting.check_words(by=None, reason="x" * 500)


def test_an_account_without_a_name_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    assert "@" in acting._account()
    monkeypatch.setattr(getpass, "getuser", nameless)
    assert acting._account().startswith("unknown@")
    monkeypatch.setattr(getpass, "getuser", lambda: "x" * 300)
    assert len(acting._account()) == 100


def test_the_one_or_the_other_is_told(capsys: Capture) -> None:
    acting.tell({"a": 1}, "text", json=True)
    acting.tell({"a": 1}, "text", json=False)
    assert capsys.readouterr().out == '{"a": 1}\ntext\n'
