"""Child processes: their output kept, a failure told in their own last words, nothing left behind."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from agents import children as module
from agents.children import Children
from bus.errors import BusError
from bus.testing import eventually

Start = Callable[[str, str], None]


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    made = Children(tmp_path, "127.0.0.1:19092")
    yield made
    made.stop()


@pytest.fixture
def start(children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts Python code as a child: the interpreter is one that runs the last argument."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" -c "$1"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return lambda name, code: children.start(name, [code])


def gone(children: Children) -> bool:
    children.check()
    return not children.pids()


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_child_that_ended_well_is_forgotten(children: Children, start: Start) -> None:
    start("one", "import os; print('done', os.environ['AGENCYBUS__BOOTSTRAP'])")
    eventually(lambda: gone(children))
    assert children.log("one").read_text() == "done 127.0.0.1:19092\n"


def test_a_failed_child_is_told_by_its_name_code_and_last_lines(children: Children, start: Start) -> None:
    start("worker", "import sys\nfor n in range(30): print('line', n)\nsys.exit('the end: no broker')")
    with pytest.raises(BusError) as caught:
        eventually(lambda: gone(children))
    assert caught.value.message.startswith("worker ended with 1: line 19 | line 20 | ")
    assert caught.value.message.endswith("line 29 | the end: no broker.")
    assert str(children.log("worker")) in caught.value.remedy


def test_stop_ends_them_all_and_they_may_end_in_their_own_way(children: Children, start: Start) -> None:
    code = "import signal,sys,time\nsignal.signal(15, lambda *_: sys.exit(print('bye')))\nprint('up', flush=True)\n"
    for name in ("one", "two"):
        start(name, code + "time.sleep(60)")
        eventually(lambda name=name: "up" in children.log(name).read_text())  # type: ignore[misc]
    pids = children.pids()
    assert sorted(pids) == ["one", "two"]
    children.stop()
    assert [children.log(name).read_text() for name in ("one", "two")] == ["up\nbye\n"] * 2
    assert not any(alive(pid) for pid in pids.values())
    assert children.pids() == {}


def test_a_child_that_ignores_the_polite_signal_is_killed(
    children: Children, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE_S", 0.2)
    start("deaf", "import signal,time\nsignal.signal(15, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)")
    eventually(lambda: "up" in children.log("deaf").read_text())
    pid = children.pids()["deaf"]
    began = time.monotonic()
    children.stop()
    assert not alive(pid)
    assert time.monotonic() - began < 10


def test_ctrl_c_does_not_reach_a_child_by_itself(children: Children, start: Start) -> None:
    start("own", "import os; print(os.getsid(0) == os.getpid())")
    eventually(lambda: gone(children))
    assert children.log("own").read_text() == "True\n"


def test_stop_without_children_is_nothing(children: Children) -> None:
    children.stop()
    children.check()
