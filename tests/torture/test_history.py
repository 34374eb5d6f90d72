"""What an actor noted before it was killed can be read, and all of it in the order of time."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.torture import history
from tests.torture.history import Op, Recorder


def test_what_two_actors_noted_comes_back_by_time(tmp_path: Path) -> None:
    first, second = Recorder(tmp_path, "publisher-1/0"), Recorder(tmp_path, "consumer-1/0")
    first.note("called", [("t", -1, -1, "a", 1), ("t", -1, -1, "b", 1)], t=10)
    second.note("applied", [("", -1, -1, "a", 1)], t=30)
    first.note("acked", [("t", 0, 7, "a", 1)], t=20)
    second.note("killed", actor="publisher-1", t=40)
    first.close()
    second.close()
    ops = history.load(tmp_path)
    assert [(op.t, op.did) for op in ops] == [
        (10, "called"),
        (10, "called"),
        (20, "acked"),
        (30, "applied"),
        (40, "killed"),
    ]
    assert ops[2] == Op(20, "publisher-1/0", "acked", "t", 0, 7, "a", 1)
    assert ops[4] == Op(40, "publisher-1", "killed")


def test_a_line_that_was_cut_short_is_no_operation(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "a")
    recorder.note("called", [("t", -1, -1, "a", 1)], t=1)
    recorder.close()
    with (tmp_path / "a.ops").open("ab") as file:
        file.write(b'[2, "a", "acked", [["t", 0')
    assert [op.did for op in history.load(tmp_path)] == ["called"]


def test_what_was_noted_before_a_kill_is_in_the_file(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from tests.torture.history import Recorder\n"
        "r = Recorder(Path(sys.argv[1]), 'a')\n"
        "for n in range(50): r.note('called', [('t', -1, -1, 'a', n)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [op.n for op in history.load(tmp_path)] == list(range(50))


def test_nothing_is_noted_of_no_places(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, "a")
    recorder.note("acked", [])
    recorder.close()
    assert (tmp_path / "a.ops").stat().st_size == 0


def test_a_kept_history_names_what_an_operation_has(tmp_path: Path) -> None:
    history.save(tmp_path / "all", [Op(1, "a", "killed"), Op(2, "b", "acked", "t", 0, 0, "k", 0)])
    lines = [json.loads(line) for line in (tmp_path / "all").read_text().splitlines()]
    assert lines[0] == {"t": 1, "actor": "a", "did": "killed"}
    assert lines[1]["offset"] == 0
