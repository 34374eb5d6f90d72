"""The offices over the in-memory transport: what the tests of simulators, office and feed share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar
from unittest.mock import patch

from bus import member
from bus.message import Message, Partition, Record
from bus.testing import memory_bus, memory_cluster
from bus.transport.memory import MemoryCluster
from bus.wiring import Bus
from connectors.feed import Feed
from connectors.office import Counts, Desk, Memory
from connectors.ports import Target
from connectors.simulators.clinic import Clinic
from schemas.envelope import Envelope, from_headers
from schemas.event import Event
from schemas.requests import RequestCreated

NOTIFIED, REGISTERED = "health.birth.notified.v1", "justice.birth.registered.v1"
CERTIFICATE, ENTERED, ASKED = "justice.document.issued.v1", "interior.identity.entered.v1", "portal.request.created.v1"
ASSIGNED = "social-fund.benefit.assigned.v1"
NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
E = TypeVar("E", bound=Event)


def offices_cluster() -> MemoryCluster:
    """A cluster with every topic of the offices."""
    return memory_cluster(NOTIFIED, REGISTERED, CERTIFICATE, ENTERED, ASKED, ASSIGNED)


class Ticks:
    """Time that moves by a quarter of a second whenever it is asked, so that idle offices end without waiting."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.25
        return self.now


def message(event: Event, *, topic: str, event_id: str = "e-1") -> Message:
    """`event` as it comes to an office."""
    source = f"/agencies/{topic.split('.', maxsplit=1)[0]}"
    envelope = Envelope(id=event_id, source=source, type=topic, time=NOW, correlationid="birth-t-000001")
    return Message(event, envelope, Record(topic, 0, 0, 0, b"birth-t-000001", b"", ()))


def serve(cluster: MemoryCluster, target: Target, memory: Memory | None = None) -> Counts:
    """Let `target` handle what is there."""
    with memory_bus(cluster, agency=target.agency) as bus, patch.object(member, "POLL_S", 0.0):
        return Desk(bus, target, stop=lambda: False, memory=memory, monotonic=Ticks()).serve(idle_s=2.0)


def tell(cluster: MemoryCluster, births: int) -> int:
    """Let the clinic tell of `births`."""
    with memory_bus(cluster, agency="health") as bus:
        return Feed(bus, rate=None, stop=lambda: False).run(Clinic(births=births, seed=5, year=2026, run="t"))


def events(cluster: MemoryCluster, topic: str, model: type[E]) -> list[tuple[str, str, E]]:
    """(case, id, event) of every record of `topic`."""
    found = []
    with memory_bus(cluster) as bus:
        for place in sorted(p for p in cluster.logs if p.topic == topic):
            for record in cluster.logs[place]:
                envelope = from_headers(record.headers)
                event = bus.core.codec.decode(record.value or b"", model)
                found.append((envelope.correlationid or "", envelope.id, event))
    return found


@contextmanager
def portal_on(cluster: MemoryCluster) -> Iterator[Bus]:
    """A bus that may ask for benefits."""
    with memory_bus(cluster, agency="portal") as bus:
        yield bus


def ask(bus: Bus, numbers: Sequence[int], *, kind: str = "birth_benefit", run: str = "t") -> None:
    """Ask for a benefit for each of `numbers`; the same number is the same event."""
    for number in numbers:
        request = RequestCreated(request_id=f"R-{number}", kind=kind, subject=f"SYN-P-{number:04d}")
        bus.publish(request, case=f"birth-{run}-{number:06d}", id=f"ask-{kind}-{run}-{number}")


def handled(cluster: MemoryCluster, group: str) -> int:
    """How many records `group` has committed."""
    commits: dict[Partition, int] = cluster.admin().committed([group])[group]
    return sum(commits.values())
