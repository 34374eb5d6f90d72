"""A seed gives a schedule, the zygote starts and kills only its own, and whoever is struck comes back."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.torture import history
from tests.torture.history import Recorder
from tests.torture.killer import Cast, Member, Share, Strike, Zygote, schedule

MEMBERS = {"broker": 3, "worker": 2}
SHARES = [Share("worker", "kill", 30), Share("broker", "kill", 5, (1.0, 2.0)), Share("broker", "kill", 1, many=2)]


@given(st.integers(0, 2**32), st.floats(10, 1000))
def test_a_schedule_holds_every_strike_in_its_turn_of_the_run(seed: int, seconds: float) -> None:
    strikes = schedule(seed, SHARES, MEMBERS, seconds=seconds)
    assert strikes == schedule(seed, SHARES, MEMBERS, seconds=seconds)
    assert strikes == sorted(strikes)
    workers = [strike for strike in strikes if strike.kind == "worker"]
    assert len(workers) == 30
    for turn, strike in enumerate(workers):
        assert turn * seconds / 30 - 0.001 <= strike.at <= (turn + 1) * seconds / 30 + 0.001
    assert sorted(len(s.members) for s in strikes if s.kind == "broker") == [1] * 5 + [2]
    assert all(member < MEMBERS[s.kind] for s in strikes for member in s.members)


def test_another_seed_is_another_schedule() -> None:
    assert schedule(1, SHARES, MEMBERS, seconds=60) != schedule(2, SHARES, MEMBERS, seconds=60)


# -- actors for the tests below, forked by the zygote ---------------------------------------------------------------


def sleeper(*, actor: str, folder: str) -> None:
    written = Path(folder, f"{actor}.new")
    written.write_text(str(os.getpid()))
    written.rename(Path(folder, actor))
    time.sleep(600)


def ender(*, actor: str, folder: str, code: int) -> int:
    Path(folder, actor).touch()
    return code


def raiser(*, actor: str) -> None:
    raise ValueError(actor)


def until(done: Callable[[], Any], *, turn: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline
        turn()
        time.sleep(0.01)


def test_whoever_is_killed_comes_back_and_whoever_ends_well_does_not(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "director")
    with Zygote(["tests.torture.test_killer"], os.environ) as zygote:

        def member(name: str, target: str, **arguments: Any) -> Member:
            given = {"folder": str(tmp_path), **arguments}
            place = f"tests.torture.test_killer:{target}"
            return Member(name, place, given, zygote=zygote, folder=tmp_path, recorder=recorder)

        sleeps, ends, fails = member("s", "sleeper"), member("e", "ender", code=0), member("f", "ender", code=3)
        strikes = [Strike(0.0, "sleeper", "kill", (0,), 0.0), Strike(0.0, "sleeper", "pause", (0,), 0.1)]
        cast = Cast({"sleeper": [sleeps], "ender": [ends], "failing": [fails]}, strikes)
        until((tmp_path / "s.1").exists, turn=lambda: cast.turn(-1, time.monotonic()))
        assert sleeps.kills == 0
        until(
            lambda: cast.struck_out and (tmp_path / "s.2").exists() and (tmp_path / "f.2").exists() and ends.finished,
            turn=lambda: cast.turn(1, time.monotonic()),
        )
        assert sleeps.kills == 1
        assert fails.ends[0] == 3
        assert not (tmp_path / "e.2").exists()
    told = [(op.did, op.actor) for op in history.load(tmp_path) if op.did not in {"started", "resumed"}]
    assert ("killed", "s.1") in told


def test_an_actor_that_raises_leaves_its_traceback_in_its_file(tmp_path: Path) -> None:
    with Zygote(["tests.torture.test_killer"], os.environ) as zygote:
        child = zygote.start("r", "tests.torture.test_killer:raiser", {"actor": "r"}, tmp_path / "r.log")
        until(lambda: child.code is not None)
    assert child.code == 1
    assert "ValueError: r" in (tmp_path / "r.log").read_text()


def test_a_zygote_whose_starter_is_gone_takes_its_actors_with_it(tmp_path: Path) -> None:
    with Zygote(["tests.torture.test_killer"], os.environ) as zygote:
        arguments = {"actor": "s", "folder": str(tmp_path)}
        child = zygote.start("s", "tests.torture.test_killer:sleeper", arguments, tmp_path / "s.log")
        until((tmp_path / "s").exists)
        zygote.signal(child, signal.SIGSTOP)
        pid = int((tmp_path / "s").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
