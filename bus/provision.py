"""Brings a cluster to a topology: reads what is, plans, applies, registers schemas.

Called by the `topics` commands and `doctor`; the edge around `bus.plan` and `bus.apply`. The trap it avoids: an event
topic whose schema nobody registered, so that its first record cannot be read by anyone else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from bus import apply as applying
from bus import plan as planning
from bus.apply import Result
from bus.message import Outgoing, Partition
from bus.plan import Plan
from bus.ports import Transport
from bus.topology import Topology
from bus.transport.schema_topic import SchemaTopic, subject_of
from schemas import avro
from schemas.catalogue import Catalogue


class Provisioner:
    """A cluster, as something that can be brought to a topology. Use as a context manager.

    Args:
        transport: makes the ports of the cluster.
        catalogue: gives each event topic its schema.
        brokers: how many there are; resolves ``auto``.
    """

    def __init__(self, transport: Transport, catalogue: Catalogue, *, brokers: int) -> None:
        self._transport = transport
        self._catalogue = catalogue
        self._brokers = brokers
        self.admin = transport.admin()
        self._reader = transport.reader()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.admin.close()
        self._reader.close()

    def plan(self, topology: Topology) -> Plan:
        """What is to be done for `topology`. Raises Unreachable."""
        found = SchemaTopic(self._reader).registered()
        kinds = self._catalogue.types()
        return planning.plan(
            topology,
            self.admin.topics(),
            brokers=self._brokers,
            schemas={kind.topic: avro.schema_id(avro.schema_of(kind.model)) for kind in kinds},
            registered={kind.topic: found.get(subject_of(kind.topic), frozenset()) for kind in kinds},
        )

    def apply(
        self, plan: Plan, *, allow_destructive: bool = False, report: Callable[[Result], None] | None = None
    ) -> tuple[Result, ...]:
        """Do what `plan` says; see `bus.apply.apply`.

        Args:
            plan: from `bus.plan`.
            allow_destructive: also do what loses, moves or endangers records.
            report: called after each action.
        """
        return applying.apply(
            plan, self.admin, register=self._register, allow_destructive=allow_destructive, report=report
        )

    def _register(self, topic: str) -> None:
        schema = avro.schema_of(self._catalogue.topic(topic).model)
        SchemaTopic(self._reader, self._append).register(topic, schema, avro.schema_id(schema))

    def _append(self, place: Partition, records: Sequence[Outgoing]) -> int:
        async def once() -> int:
            producer = self._transport.producer()
            await producer.start()
            try:
                return await producer.append(place, records)
            finally:
                await producer.stop()

        return asyncio.run(once())
