"""One reader of the poison corpus as a process: a bomb may take it down, and its memory is its own.

Started by `test_poison`: ``python -m tests.torture.poison.member KIND BOOTSTRAP AGENCY FILE [--stock]``. Writes what it
delivers, with the time, as JSON lines; SIGTERM ends it in order. ``--stock`` leaves the splitter out: the negative
control.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

from bus.message import Message, Partition, Unreadable
from bus.publish import Publication
from bus.settings import Settings
from bus.transport.kafka_reader import KafkaReader
from bus.transport.schema_topic import SchemaTopic
from bus.transport.splitter import install
from bus.wiring import connect
from connectors.office import Desk, effect_id
from schemas.codec import Codec
from tests.agents import harness
from tests.agents.harness import PARTITIONS
from tests.torture.poison.kit import OFFICE, READER, SDK, Kit, PoisonWorld

READY = "ready"


class Notes:
    """The file of what happened."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, **what: Any) -> None:
        """One line, at once."""
        self._file.write(json.dumps({"t": time.time(), **what}) + "\n")
        self._file.flush()


def _token(event_id: str) -> str:
    return event_id.removeprefix("e/")


def read_on(world: PoisonWorld, notes: Notes, stopped: Callable[[], bool]) -> None:
    """A `KafkaReader` that follows the topic to its end, again and again."""
    reader = KafkaReader(world.bootstrap)
    places = {Partition(world.topic("asked"), n): 0 for n in range(PARTITIONS)}
    notes.write(what=READY)
    while not stopped():
        for place, (_, end) in reader.bounds(list(places)).items():
            for record in reader.read(place, places[place], end):
                places[place] = record.offset + 1
                value = record.value
                if isinstance(value, Unreadable):
                    told = {"stage": "batch", "cause": value.reason, "first": value.first}
                    notes.write(what="dead", partition=place.number, offset=record.offset, **told)
                else:
                    notes.write(what="at", partition=place.number, offset=record.offset)
            places[place] = max(places[place], end)
    reader.close()


def subscribe(world: PoisonWorld, notes: Notes) -> None:
    """A subscription of the SDK; Ctrl-C ends it."""
    settings = Settings(bootstrap=world.bootstrap, agency=world.agency, session_timeout_ms=harness.SESSION_MS)
    with connect(settings=settings, catalogue=world.catalogue) as bus:
        subscription = bus.subscribe(world.asked, group=f"sdk.{world.agency}")
        notes.write(what=READY)
        for delivery in subscription:
            with delivery:
                notes.write(what="got", token=_token(delivery.message.envelope.id))


class Clerk:
    """An office that answers each note with an order."""

    name = "desk"

    def __init__(self, world: PoisonWorld) -> None:
        self.agency = world.agency
        self.listens = world.topic("asked")
        self._ordered = world.ordered

    def react(self, message: Message, *, now: datetime) -> Sequence[Publication]:
        """The order."""
        answer = self._ordered.model_validate({"number": 1})
        return [Publication(event=answer, case=message.case, id=effect_id("desk", message), time=now)]


def serve(world: PoisonWorld, notes: Notes, stopped: Callable[[], bool]) -> None:
    """An office's desk."""
    settings = Settings(bootstrap=world.bootstrap, agency=world.agency, session_timeout_ms=harness.SESSION_MS)
    with connect(settings=settings, catalogue=world.catalogue) as bus:
        desk = Desk(bus, Clerk(world), stop=stopped)
        notes.write(what=READY)
        desk.serve()


async def work(world: PoisonWorld, kind: str, notes: Notes) -> None:
    """A workflow worker on the host of that name."""
    async with harness.runner_of(world) as runner:
        host = harness.host_of(kind, world, runner, lambda owned: notes.write(what=READY, owned=list(owned)))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, host.stop)
        await host.run()


def run(kind: str, world: PoisonWorld, notes: Notes) -> None:
    """Be that reader until SIGTERM."""
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True
        if kind == SDK:
            raise KeyboardInterrupt

    if kind in harness.HOSTS:
        asyncio.run(work(world, kind, notes))
        return
    signal.signal(signal.SIGTERM, stop)
    if kind == READER:
        read_on(world, notes, lambda: stopped)
    elif kind == OFFICE:
        serve(world, notes, lambda: stopped)
    else:
        with suppress(KeyboardInterrupt):
            subscribe(world, notes)


@contextmanager
def stock() -> Iterator[None]:
    """The clients as they come: nothing guards them."""
    with patch.object(install, "into_aiokafka", lambda: None), patch.object(install, "into_kafka_python", lambda: None):
        yield


def main() -> None:
    """One reader."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    parser.add_argument("bootstrap")
    parser.add_argument("agency")
    parser.add_argument("file", type=Path)
    parser.add_argument("--stock", action="store_true")
    args = parser.parse_args()
    world = PoisonWorld(args.bootstrap, args.agency)
    rogues = Kit(world).rogues
    with (
        args.file.open("a") as file,
        stock() if args.stock else nullcontext(),
        patch.object(SchemaTopic, "read_all", lambda self: rogues),
        patch.object(harness, "Codec", partial(Codec, writers=rogues)),
    ):
        run(args.kind, world, Notes(file))


if __name__ == "__main__":
    main()
