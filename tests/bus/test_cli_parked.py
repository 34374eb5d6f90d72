"""`parked` as an operator uses it: what stands, what a command comes to, what a slip of the finger says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from bus import core, release
from bus.cli.main import main
from bus.clock import SystemClock
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.letters import GROUP, TOPIC, make_topics
from tests.bus.parked import commands, entry, obey, park

Capture = pytest.CaptureFixture[str]
Run = Callable[..., Any]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    made = memory_cluster()
    make_topics(made)
    monkeypatch.setattr(core, "transport_of", lambda settings: made)
    return made


@pytest.fixture
def parked(capsys: Capture) -> Run:
    """Runs `parked` words with --json; gives its document, having checked the exit code."""

    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["parked", *words, "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def screen(capsys: Capture) -> Callable[..., str]:
    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["parked", *words]) == code
        return capsys.readouterr().out

    return run


def running(cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch, *, failing: bytes | None = None) -> None:
    """A group whose consumer obeys each command at once."""
    send = release.send

    def obeyed(*args: Any, **more: Any) -> None:
        send(*args, **more)
        obey(cluster, failing=failing)

    monkeypatch.setattr(release, "send", obeyed)


def test_what_stands_is_listed_with_why_and_until_when(cluster: MemoryCluster, parked: Run, screen: Run) -> None:
    assert "Nothing is parked." in screen("list")
    soon = SystemClock().now() + timedelta(minutes=5)
    park(cluster, entry(1, b"a"), entry(2, b"a", queued=True), entry(3, b"\xff\x00", due=soon))
    told = {one["key"]: one for one in parked("list")["parked"]}
    assert (told["a"]["entries"], told["a"]["error"], told["a"]["due"]) == (2, "ValueError", None)
    shown = screen("list")
    assert "2 keys with 3 records set aside" in shown
    for word in ("stands until it is released", "tried again in 5 min", "0xff00", "handler ValueError (bug)"):
        assert word in shown
    assert [one["key"] for one in parked("list", "--key", "0xff00")["parked"]] == ["0xff00"]
    assert parked("list", "--topic", "bus.operator.acted.v1")["parked"] == []


def test_a_selection_of_which_nothing_is_parked_does_not_read_as_if_nothing_were(
    cluster: MemoryCluster, screen: Run
) -> None:
    park(cluster, entry(1, b"a"), entry(2, b"b"))
    shown = screen("list", "--key", "c")
    assert "Nothing of this selection is parked; besides it stand still: 2 keys." in shown
    assert "Nothing is parked" not in shown


def test_a_queue_whose_first_has_been_settled_is_said_to_need_nobody(cluster: MemoryCluster, screen: Run) -> None:
    park(cluster, entry(2, b"a", queued=True))
    assert "goes on by itself once its group runs" in screen("list")


def test_a_key_s_queue_is_shown_in_its_order(cluster: MemoryCluster, parked: Run, screen: Run) -> None:
    park(cluster, entry(2, b"a", queued=True), entry(1, b"a"))
    (one,) = parked("show", "--case", "a")["parked"]
    assert [(r["offset"], r["queued"]) for r in one["records"]] == [(1, False), (2, True)]
    shown = screen("show", "--key", "a")
    assert shown.index(f"{TOPIC}[0]@1") < shown.index(f"{TOPIC}[0]@2")
    assert "waits behind it" in shown


def test_a_release_that_is_obeyed_says_so(
    cluster: MemoryCluster, parked: Run, screen: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    park(cluster, entry(1, b"a"), entry(2, b"a", queued=True), entry(3, b"b"))
    assert [one["key"] for one in parked("release", "--key", "a", "--dry-run")["keys"]] == ["a"]
    assert commands(cluster) == []
    running(cluster, monkeypatch)
    told = parked("release", "--case", "a", "--reason", "handler mended")
    assert ([one["key"] for one in told["settled"]], told["failed"], told["waiting"]) == (["a"], [], [])
    assert [one["key"] for one in parked("list")["parked"]] == ["b"]
    assert "1 of 1 key released and settled" in screen("release", "--all")
    assert "Nothing to release." in screen("release", "--all")


def test_one_that_fails_again_or_is_not_obeyed_exits_1_and_says_how_it_stands(
    cluster: MemoryCluster, screen: Run, parked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    park(cluster, entry(1, b"a"), entry(3, b"b"))
    shown = screen("drop", "--key", "a", "--reason", "the clinic sent it again", "--wait", "0.01", code=1)
    assert f"Is a consumer or worker of {GROUP} running?" in shown
    assert "drop asked by" in screen("list")
    assert parked("release", "--key", "b", "--wait", "0")["waiting"][0]["asked"]["do"] == "release"
    running(cluster, monkeypatch, failing=b"b")
    shown = screen("release", "--key", "b", "--wait", "5", code=1)
    assert "failed again: b in office: handler ValueError." in shown
    assert "Mend what fails (`agencybus parked show`), then release again" in shown


def test_records_without_a_key_are_left_alone_and_said(cluster: MemoryCluster, screen: Run) -> None:
    park(cluster, entry(1, None), entry(2, b"a"))
    shown = screen("release", "--all", "--dry-run")
    assert "Would release 1 key with 1 record." in shown
    assert "1 record without a key" in shown


def test_a_hostile_key_cannot_steer_the_terminal_and_can_be_typed(cluster: MemoryCluster, screen: Run) -> None:
    park(cluster, entry(1, b"\x1b[2J"))
    shown = screen("list")
    assert all(line.isprintable() for line in shown.split("\n"))
    assert "0x1b5b324a" in shown
    assert "0x1b5b324a" in screen("show", "--key", "0x1b5b324a")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["list", "--group", "nobody"], "Groups that can park records: office"),
        (["show", "--key", "none"], "Nothing of none is parked."),
        (["show"], "Say which keys"),
        (["release"], "Say which keys"),
        (["release", "--key", "none"], "Nothing of none is parked."),
        (["list", "--topic", "misspelt"], "There is no topic misspelt"),
        (["release", "--all", "--topic", "misspelt"], "There is no topic misspelt"),
        (["release", "--key", "a", "--case", "a"], "not both"),
        (["release", "--key", "0xzz"], "hexadecimal digits"),
        (["release", "--all", "--wait", "-1"], "--wait"),
        (["release", "--all", "--by", ""], "--by has 0 characters"),
        (["drop", "--all"], "--reason"),
    ],
)
def test_a_slip_is_one_sentence_and_exit_2(
    words: list[str], said: str, cluster: MemoryCluster, capsys: Capture
) -> None:
    park(cluster, entry(1, b"a"))
    assert main(["parked", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""


def test_nothing_is_begun_that_could_not_be_put_on_record(cluster: MemoryCluster, capsys: Capture) -> None:
    park(cluster, entry(1, b"a"))
    cluster.admin().delete("bus.operator.acted.v1")
    assert main(["parked", "release", "--all"]) == 1
    assert "bus.operator.acted.v1" in capsys.readouterr().err
    assert commands(cluster) == []
