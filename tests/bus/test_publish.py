from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus import publish as publishing
from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from bus.message import Message, Outgoing, Partition, Receipt
from bus.partitioner import partition_for
from bus.publish import Publication, content_id
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster, MemoryProducer
from schemas.envelope import Envelope, from_headers
from tests.bus.support import TOPIC, Foreign, NoteWritten, publisher_on

WHEN = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
CAUSE = Envelope(id="e1", source="/agencies/health", type="t", time=WHEN, correlationid="case-9")


def stored(cluster: MemoryCluster) -> list[bytes | None]:
    return [r.value for _, log in sorted(cluster.logs.items()) for r in log]


async def test_a_receipt_names_the_place_where_the_event_stands() -> None:
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster) as publisher:
        receipt = await publisher.publish(NoteWritten(text="hello"), case="case-1", id="note-1", time=WHEN)
    assert receipt == Receipt(TOPIC, partition_for(b"case-1", 3), 0, "note-1")
    record = cluster.logs[Partition(TOPIC, receipt.partition)][0]
    assert record.key == b"case-1"
    envelope = from_headers(record.headers)
    assert (envelope.id, envelope.source, envelope.type) == ("note-1", "/agencies/portal", TOPIC)
    assert (envelope.time, envelope.correlationid) == (WHEN, "case-1")
    assert envelope.dataschema == "agencybus:/schemas/ids/7"
    assert envelope.partitionkey is None


async def test_the_case_and_the_cause_come_from_the_event_that_led_to_it() -> None:
    cluster = memory_cluster(TOPIC, partitions=1)
    async with publisher_on(cluster) as publisher:
        await publisher.publish(NoteWritten(text="a"), caused_by=CAUSE)
        record = cluster.logs[Partition(TOPIC, 0)][0]
        message = Message(NoteWritten(text="a"), from_headers(record.headers), record)
        await publisher.publish(NoteWritten(text="b"), caused_by=message, key="subject-3")
    first, second = (from_headers(r.headers) for r in cluster.logs[Partition(TOPIC, 0)])
    assert (first.correlationid, first.causationid) == ("case-9", "e1")
    assert (second.correlationid, second.causationid, second.partitionkey) == ("case-9", first.id, "subject-3")
    assert cluster.logs[Partition(TOPIC, 0)][1].key == b"subject-3"


async def test_the_same_content_has_the_same_id_and_any_difference_another() -> None:
    async with publisher_on(memory_cluster(TOPIC)) as publisher:
        said = [
            Publication(event=NoteWritten(text="a"), case="c"),
            Publication(event=NoteWritten(text="a"), case="c"),
            Publication(event=NoteWritten(text="b"), case="c"),
            Publication(event=NoteWritten(text="a"), case="d"),
            Publication(event=NoteWritten(text="a"), case="c", time=WHEN),
        ]
        ids = [r.id for r in await publisher.publish_all(said) if isinstance(r, Receipt)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4
    assert content_id(TOPIC, "c", None, b"\0\0\0\0\7x") == content_id(TOPIC, "c", None, b"\0\0\0\0\1x")


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (Publication(event=NoteWritten(text="a")), "case"),
        (Publication(event=NoteWritten(text="a"), case="no spaces please"), "case"),
        (Publication(event=NoteWritten(text="a"), case="c", time=datetime(2026, 1, 1)), "time"),
        (Publication(event=NoteWritten(text="unwritable"), case="c"), "data"),
        (Publication(event=NoteWritten(text="x" * 1_000_000), case="c"), "record"),
        (Publication(event=NoteWritten(text="a"), case="c", id="x" * 5_000), "id"),
        (Publication(event=Foreign(), case="c"), "type"),
    ],
)
async def test_what_breaks_a_rule_is_refused_with_its_field_and_nothing_is_stored(
    said: Publication, field: str
) -> None:
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster) as publisher:
        (outcome,) = await publisher.publish_all([said])
    assert isinstance(outcome, Refused)
    assert outcome.field == field
    assert stored(cluster) == []


async def test_an_agency_may_not_publish_under_another_s_name() -> None:
    async with publisher_on(memory_cluster(TOPIC), agency="health") as publisher:
        with pytest.raises(Refused, match=r"health does not publish note\.written"):
            await publisher.publish(NoteWritten(text="a"), case="c")


async def test_a_topic_that_is_not_there_is_refused() -> None:
    async with publisher_on(memory_cluster()) as publisher:
        with pytest.raises(Refused, match="no topic"):
            await publisher.publish(NoteWritten(text="a"), case="c")


async def test_a_lost_ack_is_an_unknown_outcome_with_the_id_to_publish_again() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.lost_acks = 1
    async with publisher_on(cluster) as publisher:
        with pytest.raises(OutcomeUnknown) as lost:
            await publisher.publish(NoteWritten(text="a"), case="c")
        again = await publisher.publish(NoteWritten(text="a"), case="c")
    assert again.id == lost.value.event_id
    assert len(stored(cluster)) == 2  # readers keep one of two


async def test_an_outage_raises_unreachable_and_stores_nothing() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.failing_appends = 1
    async with publisher_on(cluster) as publisher:
        with pytest.raises(Unreachable):
            await publisher.publish(NoteWritten(text="a"), case="c")
        assert stored(cluster) == []
        await publisher.publish(NoteWritten(text="a"), case="c")


async def test_the_deadline_ends_the_wait_for_a_silent_broker() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.held = asyncio.Event()
    async with publisher_on(cluster, deadline_s=0.05) as publisher:
        with pytest.raises(OutcomeUnknown) as unknown:
            await publisher.publish(NoteWritten(text="a"), case="c", id="a-1")
        assert unknown.value.event_id == "a-1"
        cluster.faults.held = None
        assert (await publisher.publish(NoteWritten(text="b"), case="c")).offset == 0


async def test_what_waited_behind_a_silent_broker_past_its_deadline_is_not_sent() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.held = asyncio.Event()
    async with publisher_on(cluster, deadline_s=0.05) as publisher:
        first = asyncio.create_task(publisher.publish(NoteWritten(text="a"), case="c"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first is in flight now; the second queues behind it
        second = asyncio.create_task(publisher.publish(NoteWritten(text="b"), case="c"))
        outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert isinstance(outcomes[0], OutcomeUnknown)
    assert isinstance(outcomes[1], (OutcomeUnknown, Unreachable))
    assert stored(cluster) == []


async def test_what_is_published_in_one_turn_travels_in_one_append_per_partition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = memory_cluster(TOPIC)
    sizes: list[int] = []
    store = cluster.store

    def counting(place: Partition, records: Sequence[Outgoing]) -> int:
        sizes.append(len(records))
        return store(place, records)

    monkeypatch.setattr(cluster, "store", counting)
    async with publisher_on(cluster) as publisher:
        said = [Publication(event=NoteWritten(text=str(i)), case=f"c{i}") for i in range(300)]
        assert all(isinstance(r, Receipt) for r in await publisher.publish_all(said))
    assert sum(sizes) == 300
    assert len(sizes) == 3


async def test_a_full_queue_makes_the_caller_wait_and_loses_nothing() -> None:
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster, queued=7) as publisher:
        said = [Publication(event=NoteWritten(text=str(i)), case="c") for i in range(100)]
        receipts = await publisher.publish_all(said)
    assert [r.offset for r in receipts if isinstance(r, Receipt)] == list(range(100))


async def test_no_more_is_taken_from_the_input_than_there_is_room_for() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.held = asyncio.Event()
    taken = 0

    def said() -> Iterator[Publication]:
        nonlocal taken
        for i in range(100):
            taken += 1
            yield Publication(event=NoteWritten(text=str(i)), case="c")

    async with publisher_on(cluster, queued=5) as publisher:
        running = asyncio.create_task(publisher.publish_all(said()))
        for _ in range(50):
            await asyncio.sleep(0)
        assert taken == 6  # five in the queue, one waiting for room
        cluster.faults.held.set()
        assert len(await running) == 100


async def test_a_full_queue_before_a_silent_broker_ends_with_the_deadline() -> None:
    cluster = memory_cluster(TOPIC)
    cluster.faults.held = asyncio.Event()
    async with publisher_on(cluster, queued=2, deadline_s=0.05) as publisher:
        said = [Publication(event=NoteWritten(text=str(i)), case="c") for i in range(5)]
        outcomes = await publisher.publish_all(said)
    assert len(outcomes) == 5
    assert not any(isinstance(o, Receipt) for o in outcomes)


async def test_an_input_error_keeps_its_place_among_the_results() -> None:
    wrong = Refused("line 2 is no JSON", field="line")
    async with publisher_on(memory_cluster(TOPIC)) as publisher:
        good = Publication(event=NoteWritten(text="a"), case="c")
        outcomes = await publisher.publish_all([good, wrong, good])
    assert [type(o) for o in outcomes] == [Receipt, Refused, Receipt]


async def test_one_record_the_broker_will_not_take_does_not_spoil_its_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = memory_cluster(TOPIC, partitions=1)
    store = cluster.store

    def picky(place: Partition, records: Sequence[Outgoing]) -> int:
        if any(b"evil" in (r.value or b"") for r in records):
            raise Refused("too large for this topic", field="record")
        return store(place, records)

    monkeypatch.setattr(cluster, "store", picky)
    async with publisher_on(cluster) as publisher:
        said = [Publication(event=NoteWritten(text=t), case="c") for t in ("a", "evil", "b")]
        outcomes = await publisher.publish_all(said)
    assert [type(o) for o in outcomes] == [Receipt, Refused, Receipt]


async def test_a_fault_of_the_transport_itself_never_leaves_a_caller_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = memory_cluster(TOPIC)
    monkeypatch.setattr(cluster, "store", lambda *_: 1 / 0)
    async with publisher_on(cluster) as publisher:
        with pytest.raises(OutcomeUnknown, match="ZeroDivisionError"):
            await publisher.publish(NoteWritten(text="a"), case="c")


async def test_closing_settles_what_was_taken_and_takes_no_more() -> None:
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster) as publisher:
        running = [asyncio.create_task(publisher.publish(NoteWritten(text=str(i)), case="c")) for i in range(20)]
        await asyncio.sleep(0)
        await publisher.close()
        assert len(stored(cluster)) == 20
        assert [r.offset for r in await asyncio.gather(*running)] == list(range(20))
        with pytest.raises(Refused, match="closed"):
            await publisher.publish(NoteWritten(text="a"), case="c")


@pytest.mark.parametrize("fault", ["fail", "lose"])
async def test_what_follows_an_event_of_its_key_without_an_ack_is_not_sent(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "_LANE_RECORDS", 1)
    cluster = memory_cluster(TOPIC, partitions=1)
    setattr(cluster.faults, "failing_appends" if fault == "fail" else "lost_acks", 1)
    said = [Publication(event=NoteWritten(text=text), case=case) for text, case in (("1", "c"), ("x", "d"), ("2", "c"))]
    async with publisher_on(cluster) as publisher:
        first, other, second = await publisher.publish_all(said)
        assert isinstance(first, Unreachable if fault == "fail" else OutcomeUnknown)
        assert isinstance(other, Receipt)
        assert isinstance(second, Unreachable)
        assert "Publish both again" in second.remedy
        assert all(isinstance(again, Receipt) for again in await publisher.publish_all([said[0], said[2]]))


PAIR = [Publication(event=NoteWritten(text=text), case="c") for text in ("1", "2")]


async def test_what_follows_an_event_that_expired_unsent_is_not_sent_either(monkeypatch: pytest.MonkeyPatch) -> None:
    late = 0.0
    monkeypatch.setattr(publishing, "_now", lambda: asyncio.get_running_loop().time() + late)

    def slowly() -> Iterator[Publication]:
        nonlocal late
        yield PAIR[0]
        late = 60.0
        yield PAIR[1]

    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster) as publisher:
        first, second = await publisher.publish_all(slowly())
    assert "gave no answer" in str(first)
    assert "Publish both again" in str(second)
    assert stored(cluster) == []


async def test_what_follows_an_event_whose_partition_could_not_be_told_is_not_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    down = [Unreachable("The broker is silent.")]
    partitions = MemoryProducer.partitions

    async def silent_once(self: MemoryProducer, topic: str) -> int:
        if down:
            raise down.pop()
        return await partitions(self, topic)

    monkeypatch.setattr(MemoryProducer, "partitions", silent_once)
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster) as publisher:
        first, second = await publisher.publish_all(PAIR)
    assert "silent" in str(first)
    assert "Publish both again" in str(second)
    assert stored(cluster) == []


async def test_what_follows_an_event_without_an_ack_is_not_sent_when_a_refused_batch_is_sent_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    append = MemoryProducer.append
    down = [Unreachable("The broker is silent.")]

    async def pick(self: MemoryProducer, partition: Partition, records: Sequence[Outgoing]) -> int:
        if len(records) > 1:
            raise Refused("One of them is too large.")
        if down:
            raise down.pop()
        return await append(self, partition, records)

    monkeypatch.setattr(MemoryProducer, "append", pick)
    cluster = memory_cluster(TOPIC)
    async with publisher_on(cluster) as publisher:
        first, second = await publisher.publish_all(PAIR)
    assert "silent" in str(first)
    assert "Publish both again" in str(second)
    assert stored(cluster) == []


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), faults=st.lists(st.sampled_from(["fail", "lose", "none"]), max_size=12))
def test_publishing_again_what_failed_keeps_the_order_per_key(seed: int, faults: list[str]) -> None:
    asyncio.run(_publish_again_what_failed(random.Random(seed), faults))


async def _publish_again_what_failed(dice: random.Random, faults: list[str]) -> None:
    cluster = memory_cluster(TOPIC)
    left = [Publication(event=NoteWritten(text=f"{n:03}"), case=f"c{dice.randrange(4)}") for n in range(60)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "_LANE_RECORDS", dice.choice([1, 2, 7]))
        async with publisher_on(cluster, queued=dice.choice([3, 1000])) as publisher:
            for fault in [*faults, "none"]:
                cluster.faults.failing_appends = int(fault == "fail")
                cluster.faults.lost_acks = int(fault == "lose")
                outcomes = await publisher.publish_all(left)
                left = [said for said, got in zip(left, outcomes, strict=True) if not isinstance(got, Receipt)]
    assert not left
    for log in cluster.logs.values():
        first: dict[bytes | None, dict[bytes | None, None]] = {}
        for record in log:
            first.setdefault(record.key, {})[record.value] = None
        assert all(list(values) == sorted(values, key=str) for values in first.values())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), faults=st.lists(st.sampled_from(["fail", "lose", "none"]), max_size=12))
def test_under_any_faults_order_per_case_holds_and_no_ack_is_false(seed: int, faults: list[str]) -> None:
    asyncio.run(_publish_under_faults(seed, faults))


async def _publish_under_faults(seed: int, faults: list[str]) -> None:
    dice = random.Random(seed)
    cluster = memory_cluster(TOPIC)
    acked: dict[str, list[int]] = {}
    async with publisher_on(cluster, queued=dice.choice([3, 1000])) as publisher:
        for round_, fault in enumerate([*faults, "none"]):
            cluster.faults.failing_appends = int(fault == "fail")
            cluster.faults.lost_acks = int(fault == "lose")
            said = [
                Publication(event=NoteWritten(text=f"{round_:03}-{i:03}"), case=f"c{dice.randrange(5)}")
                for i in range(dice.randrange(1, 30))
            ]
            for publication, outcome in zip(said, await publisher.publish_all(said), strict=True):
                assert isinstance(outcome, (Receipt, BusError))
                if isinstance(outcome, Receipt):
                    log = cluster.logs[Partition(outcome.topic, outcome.partition)]
                    assert from_headers(log[outcome.offset].headers).id == outcome.id
                    acked.setdefault(str(publication.case), []).append(outcome.offset)
    assert all(offsets == sorted(offsets) for offsets in acked.values())
    for log in cluster.logs.values():  # each text is published once, so the log itself shows the order
        by_case: dict[bytes | None, list[bytes | None]] = {}
        for record in log:
            by_case.setdefault(record.key, []).append(record.value)
        assert all(values == sorted(values, key=str) for values in by_case.values())
