"""The worker beside a replay: its end is noticed with its last words, and it never outlives the block."""

from __future__ import annotations

import pytest

from bus.errors import BusError
from bus.testing import eventually
from connectors.worker_process import WorkerProcess


def _ended(worker: WorkerProcess) -> bool:
    return worker._process.poll() is not None


def test_a_worker_that_ends_is_named_with_its_last_words() -> None:
    with WorkerProcess(["no-such-command"]) as worker:
        eventually(lambda: _ended(worker))
        with pytest.raises(BusError, match=r"ended with code \d+: .*no-such-command"):
            worker.check()


def test_a_running_worker_is_stopped_when_the_block_is_left() -> None:
    with WorkerProcess(["connector", "run", "offices", "--bootstrap", "127.0.0.1:1"]) as worker:
        process = worker._process
    assert process.returncode is not None
