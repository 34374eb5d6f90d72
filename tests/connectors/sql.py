"""What the tests of outbox, relay and inbox share: an agency's database with its tables, and a relay run once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, MetaData

from bus.testing import ManualClock
from bus.transport.memory import MemoryCluster, MemoryProducer
from connectors.database import open_database
from connectors.outbox import Outbox
from connectors.relay import Counts, Relay
from connectors.relay_rows import RelayRows
from tests.bus.support import CATALOGUE, NoteWritten


class Notes:
    """An agency that writes notes, on a database of its own."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_database(url)
        self.metadata = MetaData()
        self.clock = ManualClock()
        self.outbox = Outbox(self.metadata, agency="portal", catalogue=CATALOGUE, clock=self.clock)
        self.metadata.create_all(self.engine)

    def add(self, *texts: str, case: str = "case-1") -> None:
        """Write notes in one transaction; the text is the event's id."""
        with self.engine.begin() as connection:
            for said in texts:
                self.outbox.add(connection, NoteWritten(text=said), case=case, id=said)

    def rows(self) -> list[str]:
        """Ids that wait."""
        with self.engine.connect() as connection:
            return [row.id for row in connection.execute(self.outbox.table.select().order_by(self.outbox.table.c.seq))]

    def relay(self, cluster: MemoryCluster, *, producer: MemoryProducer | None = None) -> Counts:
        """Run a relay until the table is empty or all that is left waits."""
        return asyncio.run(relay_of(self, cluster, producer=producer).serve(idle_s=0))


def relay_of(
    notes: Notes,
    cluster: MemoryCluster,
    *,
    producer: MemoryProducer | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Relay:
    """A relay of that agency's outbox."""
    rows = RelayRows(notes.engine, notes.outbox.table)
    return Relay(producer or cluster.producer(), rows, clock=notes.clock, stop=stop, look_s=0.01)


@contextmanager
def notes_on(url: str) -> Iterator[Notes]:
    """The agency, its connections closed at the end."""
    notes = Notes(url)
    try:
        yield notes
    finally:
        notes.engine.dispose()


def ids(cluster: MemoryCluster, topic: str) -> list[str]:
    """The event ids on a topic, partition by partition."""
    found = []
    for place in sorted(p for p in cluster.logs if p.topic == topic):
        found += [(dict(r.headers)["ce_id"] or b"").decode() for r in cluster.logs[place]]
    return found
