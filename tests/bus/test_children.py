"""Our own commands as children: an end is noticed with its last words, and none outlives whoever started it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from bus import children
from bus.children import Children
from bus.errors import BusError
from bus.testing import eventually

NOBODY = "127.0.0.1:1"
LASTS = ["connector", "run", "offices"]  # asks a broker that does not answer, again and again


def ended(child: Children, name: str) -> bool:
    return child._running[name].poll() is not None


def test_a_command_runs_with_this_python() -> None:
    assert children.command(["up"]) == [sys.executable, "-m", "bus.cli.main", "up"]


def test_a_child_that_failed_is_named_with_its_last_words_and_its_output(tmp_path: Path) -> None:
    with Children(NOBODY, logs=tmp_path) as found:
        found.start("worker", ["no-such-command"])
        eventually(lambda: ended(found, "worker"))
        with pytest.raises(BusError, match=r"The worker ended with code 2: .*no-such-command") as raised:
            found.check()
    assert str(tmp_path / "worker.log") in raised.value.remedy


def test_output_in_a_temporary_folder_goes_with_the_children() -> None:
    with Children(NOBODY) as found:
        found.start("worker", ["no-such-command"])
        eventually(lambda: ended(found, "worker"))
        folder = found.log("worker").parent
        with pytest.raises(BusError, match="no-such-command") as raised:
            found.check()
    assert raised.value.remedy == ""
    assert not folder.exists()


@pytest.mark.parametrize("may_end", [True, False])
def test_ending_well_is_a_failure_of_a_child_that_should_stay(tmp_path: Path, *, may_end: bool) -> None:
    with Children(NOBODY, logs=tmp_path) as found:
        found.start("clinic", ["--help"], may_end=may_end)
        eventually(lambda: ended(found, "clinic"))
        if may_end:
            found.check()
            assert found.pids() == {}
        else:
            with pytest.raises(BusError, match="The clinic ended with code 0"):
                found.check()


def test_children_know_the_broker_and_are_stopped_when_the_block_is_left(tmp_path: Path) -> None:
    with Children(NOBODY, logs=tmp_path) as found:
        found.start("offices", LASTS)
        process = found._running["offices"]
        assert found.pids() == {"offices": process.pid}
        environment = Path(f"/proc/{process.pid}/environ")
        if environment.exists():
            eventually(lambda: f"AGENCYBUS__BOOTSTRAP={NOBODY}" in environment.read_text().split("\0"))
        assert os.getpgid(process.pid) != os.getpgid(0), "Ctrl-C must not reach it before its parent has"
    assert process.returncode is not None
    found.stop()
