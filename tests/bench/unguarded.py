"""Our worker without its guards: the price of safety is what it is faster by.

Started by `tests.bench.sides` as ``python -m tests.bench.unguarded worker run ...`` instead of the command. Taken out:
the splitter of hostile batches, the checks of an envelope (owner, key, partition), the positions row, the wait for the
case log's acknowledgement before outputs leave, and the wait for the outputs before the next batch. What is left loses
and doubles events at a crash; for measuring only. The trap it avoids: outputs that pile up until all is decided and
then leave at once, at a rate nobody works at; `AHEAD` batches may be under way, no more.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence

from agents.case_log import Row
from agents.decision import Decision
from agents.intake import Intake
from agents.kafka_case_log import KafkaCaseLog
from agents.outputs import Places, Ready
from agents.runner import Runner
from agents.supervisor import CHILD
from bus.cli.main import run
from bus.message import Record
from bus.transport.splitter import install
from schemas.catalogue import EventType
from schemas.envelope import Envelope, from_headers

_store, _rows = KafkaCaseLog.append, Runner._rows
_start_sending = Runner._start_sending


def _envelope(_self: Intake, record: Record, _known: EventType) -> Envelope:
    return from_headers(record.headers)


def _without_positions(self: Runner, number: int, decision: Decision) -> list[Row]:
    return _rows(self, number, decision)[:-1]


_appends: dict[KafkaCaseLog, asyncio.Task[None]] = {}


async def _append(self: KafkaCaseLog, batches: Mapping[int, Sequence[Row]]) -> None:
    before = _appends.get(self)

    async def in_turn() -> None:
        if before is not None:
            await before
        await _store(self, batches)

    _appends[self] = asyncio.create_task(in_turn())


AHEAD = 1
_sent: list[asyncio.Task[Places]] = []


async def _send_and_forget(self: Runner, ready: Ready) -> None:
    await _start_sending(self, ready)
    assert self._sending is not None
    _sent.append(self._sending)
    self._sending = asyncio.create_task(_nothing(_sent.pop(0) if len(_sent) > AHEAD else None))


async def _nothing(earlier: asyncio.Task[Places] | None) -> Places:
    if earlier is not None:
        await earlier
    return {}


def main() -> None:
    """Take the guards out and run the worker in this process, without its supervisor."""
    for owner, name, instead in (
        (install, "into_aiokafka", lambda: None),
        (Intake, "_envelope", _envelope),
        (Runner, "_rows", _without_positions),
        (Runner, "_start_sending", _send_and_forget),
        (KafkaCaseLog, "append", _append),
    ):
        setattr(owner, name, instead)
    os.environ[CHILD] = str(os.getppid())
    run()


if __name__ == "__main__":
    main()
