"""What leaves a workflow: emitted events, archived cases, dead letters. One place, so each is acknowledged.

Called by the runner after the decision behind an output is durable (dead letters: before). An event's id comes from
the case and its transition, so sending again after a crash gives the same event, and readers keep one of two. The
trap it avoids: an output that cannot be built (a field out of range) is found by `check` while its cause can still be
dead-lettered, not when the case has moved on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from agents import case_bytes
from agents.case import Case
from agents.intake import Dead
from agents.machine import Emit
from bus.errors import OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Partition
from bus.middleware.dead_letter import Failure, dead_record, place_of
from bus.middleware.parking import parked_topic
from bus.partitioner import partition_for
from bus.ports import Clock, Producer
from bus.publish import SCHEMA_PREFIX
from bus.transport.rules import check_size, record_bytes
from schemas.catalogue import Catalogue
from schemas.codec import Codec
from schemas.envelope import SOURCE_PREFIX, Letterhead
from schemas.errors import SchemaSideError
from schemas.event import Event

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0

_AT_ONCE = 100  # events built between two looks at the loop, where other work is under way meanwhile

Places = dict[str, tuple[int, int]]  # event id -> (partition, offset)
Said = tuple[int, str, Emit]  # an event with its case partition and its case id
Ready = dict[Partition, tuple[list[str], list[Outgoing]]]  # event ids and records, in order


class Outputs:
    """Builds and sends what a process puts out.

    Args:
        producer: where to. group: names ``<group>.archive``, ``<group>.dead`` and ``<group>.parked``.
        catalogue, codec: the event types and their bytes.
        process: named in the source of every event, ``/agencies/<owner of the topic>/workflows/<process>``.
        partitions: of the group's own topics.
        clock: when a dead letter was given up.
    """

    def __init__(
        self,
        producer: Producer,
        *,
        catalogue: Catalogue,
        codec: Codec,
        group: str,
        process: str,
        partitions: int,
        clock: Clock,
    ) -> None:
        self._producer = producer
        self._clock = clock
        self._catalogue = catalogue
        self._codec = codec
        self._group = group
        self._process = process
        self._partitions = partitions
        self.told = parked_topic(group)  # where operators' commands and redriven letters for this group come from
        self.letters = 0  # dead letters written by this process
        self._letterheads: dict[tuple[str, str], Letterhead] = {}  # by topic and agency
        self._built: dict[str, bytes] = {}  # values of checked outputs until they are sent, by event id

    def check(self, emits: Sequence[Emit]) -> None:
        """Build the values of `emits`; they are kept for `prepare`.

        Raises:
            Refused: when a field's value is outside its contract, names the field; or the event is too large.
        """
        self._built.update(zip([emit.id for emit in emits], self._values(emits), strict=True))  # all of them or none

    def check_closed(self, case: Case) -> None:
        """Whether the archive has room for a closed case.

        Raises:
            Refused: no batch holds it.
        """
        check_size(record_bytes(Outgoing(case.id.encode(), case_bytes.archived(case))))

    def forget(self) -> None:
        """Drop what was checked and may not be sent: another worker takes over, or a smaller decision follows."""
        self._built.clear()

    async def prepare(self, emits: Sequence[Said]) -> Ready:
        """Build the records of events; the decision behind them may be on its way.

        Raises:
            Refused: there is no such topic. Unreachable: no broker says how many partitions a topic has.
        """
        built: dict[tuple[str, int], tuple[list[str], list[Outgoing]]] = {}
        counts = {topic: await self._producer.partitions(topic) for topic in {emit.topic for *_, emit in emits}}
        for index, (number, case_id, emit) in enumerate(emits):
            if index % _AT_ONCE == 0:
                await asyncio.sleep(0)
            key, count = case_id.encode(), counts[emit.topic]
            # Among as many partitions a key has the same one; to look it up again is 4 % of a busy worker's time.
            place = emit.topic, number if count == self._partitions else partition_for(key, count)
            ids, records = built.get(place) or built.setdefault(place, ([], []))
            ids.append(emit.id)
            records.append(self._outgoing(key, case_id, emit))
        return {Partition(*place): found for place, found in built.items()}

    async def send(self, ready: Ready) -> Places:
        """Send events, order kept per case and topic; return where each one stands. Raises Refused."""
        places: Places = {}
        firsts = await self._append({partition: records for partition, (_, records) in ready.items()})
        for partition, (ids, _) in ready.items():
            for index, event_id in enumerate(ids):
                places[event_id] = (partition.number, firsts[partition] + index)
        return places

    async def archive(self, closed: Mapping[int, Sequence[Case]]) -> None:
        """Append closed cases, by case partition, to the group's archive."""
        rows = {
            number: [Outgoing(case.id.encode(), case_bytes.archived(case)) for case in found]
            for number, found in closed.items()
            if found
        }
        await self._append({Partition(f"{self._group}.archive", number): found for number, found in rows.items()})

    async def dead(self, letters: Sequence[Dead]) -> None:
        """Append records that could not be taken, bytes unchanged, to the group's dead letters."""
        batches: dict[Partition, list[Outgoing]] = {}
        now = self._clock.now()
        for record, stage, error, kind, redrive in letters:
            place = place_of(record, group=self._group, partitions=self._partitions)
            failure = Failure(stage=stage, kind=kind, error=error, attempt=1, first=now, last=now)
            letter = dead_record(record, failure, group=self._group, redrive=redrive)
            batches.setdefault(place, []).append(letter)
        await self._append(batches)
        self.letters += len(letters)

    async def settle(self, done: Mapping[int, Sequence[bytes]]) -> None:
        """Remove rows of ``<group>.parked`` that have been taken in, given by case partition and key."""
        await self._append(
            {
                Partition(self.told, number): [Outgoing(key, None) for key in keys]
                for number, keys in done.items()
                if keys
            }
        )

    async def _append(self, batches: Mapping[Partition, Sequence[Outgoing]]) -> dict[Partition, int]:
        firsts = await asyncio.gather(*(self._until_stored(p, records) for p, records in batches.items()))
        return dict(zip(batches, firsts, strict=True))

    async def _until_stored(self, partition: Partition, records: Sequence[Outgoing]) -> int:
        """Append until acknowledged: the decision is durable, giving up would lose an event, repeats are harmless."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                return await self._producer.append(partition, records)
            except (Unreachable, OutcomeUnknown):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)

    def _values(self, emits: Sequence[Emit]) -> list[bytes]:
        try:
            return self._codec.encode_json([self._said(emit) for emit in emits])
        except (SchemaSideError, ValidationError):  # one by one, the fault has a name
            return [self._value(emit) for emit in emits]

    def _said(self, emit: Emit) -> tuple[type[Event], bytes]:
        return self._catalogue.topic(emit.topic).model, bytes(emit.data)

    def _value(self, emit: Emit) -> bytes:
        try:
            return self._codec.encode_json([self._said(emit)])[0]
        except SchemaSideError as error:
            raise Refused(f"step {emit.step} cannot emit {emit.topic}: {error}", field=emit.topic) from None
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(str(part) for part in fault["loc"])
            raise Refused(f"step {emit.step} cannot emit {emit.topic}: {field}: {fault['msg']}", field=field) from None

    def _outgoing(self, key: bytes, case_id: str, emit: Emit) -> Outgoing:
        letterhead = self._letterheads.get((emit.topic, emit.agency)) or self._letterhead(emit.topic, emit.agency)
        value = self._built.pop(emit.id, None)  # None: recovered from the log, checked by the worker before
        return Outgoing(
            key,
            self._value(emit) if value is None else value,
            letterhead.headers(id=emit.id, at=emit.at, case=case_id, cause=emit.caused_by),
        )

    def _letterhead(self, topic: str, agency: str) -> Letterhead:
        found = self._letterheads[topic, agency] = Letterhead(
            source=f"{SOURCE_PREFIX}{agency}/workflows/{self._process}",
            type=topic,
            dataschema=f"{SCHEMA_PREFIX}{self._codec.schema_id(self._catalogue.topic(topic).model)}",
        )
        return found
