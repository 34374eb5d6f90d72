"""What must hold at the end of a simulated history.

Called by `tests.simulation.history`. Each line of an answer is one anomaly (the list of research/trust.md 1.3: lost
write, unseen, double effect, two meanings of one id, order per key).
"""

from __future__ import annotations

from collections import Counter, defaultdict

from agents import case_bytes
from agents.case_log import Marker, unpack
from bus.message import Record
from schemas.envelope import from_headers, from_ms
from tests.agents.crashes import MISSED, REQUEST, open_cases
from tests.agents.world import GROUP, World, decoded
from tests.simulation.fund import FUND, Database
from tests.simulation.processes import Journal


def closed(world: World, ids: list[str]) -> bool:
    """Whether every case has come to its end: seen from its last row alone, for this is asked every half second."""
    last = {key: value for rows in world.rows.values() for key, value in rows}
    return all((value := last.get(case.encode())) and isinstance(unpack(value), Marker) for case in ids)


def anomalies(world: World, ids: list[str], journal: Journal, database: Database) -> list[str]:
    """Everything that is wrong."""
    found = [f"{case} is not closed" for case in ids if not isinstance(open_cases(world).get(case), Marker)]
    found += _lost(world, journal)
    found += [f"{case} was paid {database.paid[case]} times" for case in ids if database.paid[case] != 1]
    for topic in world.cluster.topics:
        if not topic.startswith((GROUP, FUND)):
            found += _two_in_one(world.stored(topic))
    asked = Counter((r.key or b"").decode() for r in _once(world.stored(REQUEST)))
    found += [] if asked == Counter(ids) else [f"requests of one id each: {dict(asked)}"]
    missed = Counter(((r.key or b"").decode(), decoded(r).step) for r in _once(world.stored(MISSED)))
    found += [f"{case}: the deadline of {step} was missed {n} times" for (case, step), n in missed.items() if n > 1]
    found += _early(world)
    for group in (GROUP, FUND):
        if f"{group}.dead" in world.cluster.topics:
            found += [f"dead letter: {dict(r.headers)['dead_error']!r}" for r in world.stored(f"{group}.dead")]
    archived = {
        case.id: case for r in world.stored(f"{GROUP}.archive") for case in [case_bytes.from_bytes(r.value or b"")]
    }
    found += [f"archived: {sorted(archived)}"] if set(archived) != set(ids) else []
    return found + [f"{c.id} ended as {c.outcome}" for c in archived.values() if c.outcome != "completed"]


def _lost(world: World, journal: Journal) -> list[str]:
    found = []
    for event_id, receipt in journal.acked.items():
        stored = [
            r for r in world.stored(receipt.topic) if (r.partition, r.offset) == (receipt.partition, receipt.offset)
        ]
        if not stored or from_headers(stored[0].headers).id != event_id:
            found.append(f"{event_id} was acknowledged and does not stand where its receipt says")
    return found


def _once(records: list[Record]) -> list[Record]:
    return list({from_headers(record.headers).id: record for record in records}.values())


def _two_in_one(records: list[Record]) -> list[str]:
    """Ids that stand for two events; what an office says again may carry another time of saying."""
    meanings: dict[str, set[tuple[bytes | None, bytes | None]]] = defaultdict(set)
    for record in records:
        meanings[from_headers(record.headers).id].add((record.key, record.value))
    return [f"id {event_id} stands for two events" for event_id, said in meanings.items() if len(said) > 1]


def _early(world: World) -> list[str]:
    """Deadlines told as missed before they were due."""
    return [
        f"{(r.key or b'').decode()}: the deadline of {event.step} was told before it was due"
        for r in world.stored(MISSED)
        for event in [decoded(r)]
        if from_ms(r.timestamp) < event.due
    ]
