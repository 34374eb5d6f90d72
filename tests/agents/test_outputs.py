"""What a workflow puts out: order kept per case and topic, sent until acknowledged, refused while it can be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, structs
from msgspec.json import encode

from agents import case_bytes
from agents.case import Case
from agents.intake import Dead
from agents.machine import Emit
from agents.outputs import Outputs, Places
from bus.errors import Refused
from bus.message import Outgoing, Partition, Record
from bus.middleware.dead_letter import place_of
from bus.middleware.retry import Kind
from bus.partitioner import partition_for
from bus.ports import TopicState
from bus.testing import START, ManualClock, memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.bus_events import DeadlineMissed
from schemas.envelope import from_headers, to_us
from schemas.event import Event
from tests.agents.world import CATALOGUE, CODEC, decoded

MISSED = "bus.deadline.missed.v1"
REQUEST = "portal.request.created.v1"
GROUP = "workflow.test"
PARTITIONS = 3


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(MISSED, REQUEST, f"{GROUP}.archive", f"{GROUP}.dead", partitions=PARTITIONS)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses asked for; nobody waits."""
    asked: list[float] = []
    turn = asyncio.sleep

    async def sleep(seconds: float) -> None:
        if seconds:
            asked.append(seconds)
        await turn(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return asked


def outputs(cluster: MemoryCluster) -> Outputs:
    return Outputs(
        cluster.producer(),
        catalogue=CATALOGUE,
        codec=CODEC,
        group=GROUP,
        process="birth",
        partitions=PARTITIONS,
        clock=ManualClock(),
    )


async def send(it: Outputs, emits: Sequence[tuple[str, Emit]]) -> Places:
    return await it.send(
        await it.prepare([(partition_for(case.encode(), PARTITIONS), case, emit) for case, emit in emits])
    )


def missed(number: int, **data: Any) -> Emit:
    fields = {"process": "birth", "step": f"s{number}", "owner": "justice", "due": "2026-01-05T08:00:00Z", **data}
    return Emit(f"{number:032x}", MISSED, f"s{number}", "bus", Raw(encode(fields)), to_us(START), "cause-1")


def stored(cluster: MemoryCluster, topic: str) -> list[Record]:
    return [r for n in range(PARTITIONS) for r in cluster.logs[Partition(topic, n)]]


async def test_an_output_says_who_what_when_and_why(cluster: MemoryCluster) -> None:
    places = await send(outputs(cluster), [("birth-1", missed(7))])
    (record,) = stored(cluster, MISSED)
    envelope = from_headers(record.headers)
    assert (envelope.id, envelope.source, envelope.type) == (f"{7:032x}", "/agencies/bus/workflows/birth", MISSED)
    assert (envelope.time, envelope.correlationid, envelope.causationid) == (START, "birth-1", "cause-1")
    assert envelope.dataschema == f"agencybus:/schemas/ids/{CODEC.schema_id(DeadlineMissed)}"
    assert record.key == b"birth-1"
    assert record.partition == partition_for(b"birth-1", PARTITIONS)
    assert decoded(record).step == "s7"
    assert places == {f"{7:032x}": (record.partition, record.offset)}


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), max_size=30))
def test_the_order_of_a_case_is_kept_on_its_topic_and_each_place_is_right(told: list[str]) -> None:
    cluster = memory_cluster(MISSED, partitions=PARTITIONS)
    emits = [(case, missed(number)) for number, case in enumerate(told)]
    places = asyncio.run(send(outputs(cluster), emits))
    records = stored(cluster, MISSED)
    for case in set(told):
        steps = [decoded(r).step for r in records if r.key == case.encode()]
        assert steps == [emit.step for c, emit in emits if c == case]
    assert places == {from_headers(r.headers).id: (r.partition, r.offset) for r in records}


async def test_on_a_topic_of_another_width_a_case_stands_where_its_key_belongs() -> None:
    cluster = memory_cluster(MISSED, partitions=PARTITIONS + 3)
    places = await send(outputs(cluster), [(f"birth-{number}", missed(number)) for number in range(20)])
    homes = [partition_for(b"birth-%d" % number, PARTITIONS + 3) for number in range(20)]
    assert [places[f"{number:032x}"][0] for number in range(20)] == homes
    assert max(homes) >= PARTITIONS


async def test_nothing_to_send_is_nothing_sent(cluster: MemoryCluster) -> None:
    assert await send(outputs(cluster), []) == {}
    await outputs(cluster).archive({0: []})
    await outputs(cluster).dead([])
    assert not any(cluster.logs.values())


async def test_it_sends_until_acknowledged_with_growing_pauses(cluster: MemoryCluster, pauses: list[float]) -> None:
    cluster.faults.failing_appends = 8
    await send(outputs(cluster), [("birth-1", missed(1))])
    assert len(stored(cluster, MISSED)) == 1
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


async def test_a_lost_acknowledgement_repeats_the_same_event_and_tells_the_place_of_the_last(
    cluster: MemoryCluster,
) -> None:
    cluster.faults.lost_acks = 2
    places = await send(outputs(cluster), [("birth-1", missed(1)), ("birth-1", missed(2))])
    records = stored(cluster, MISSED)
    assert [r.headers for r in records[:2]] * 3 == [r.headers for r in records]
    assert [r.value for r in records[:2]] * 3 == [r.value for r in records]
    assert {offset for _, offset in places.values()} == {4, 5}


async def test_what_the_broker_will_never_take_is_not_tried_again(cluster: MemoryCluster) -> None:
    cluster.admin().delete(MISSED)
    with pytest.raises(Refused):
        await send(outputs(cluster), [("birth-1", missed(1))])


@pytest.mark.parametrize(
    ("data", "field"),
    [({"due": "soon"}, "due"), ({"owner": "Justice!"}, "owner"), ({"step": None}, "step"), ({"more": 1}, "more")],
)
async def test_a_field_outside_its_contract_is_refused_by_name_before_anything_leaves(
    cluster: MemoryCluster, data: dict[str, Any], field: str
) -> None:
    with pytest.raises(Refused, match=field) as refused:
        outputs(cluster).check([missed(1), missed(2, **data)])
    assert refused.value.field == field


async def test_what_was_checked_is_built_once_and_an_unchecked_one_is_built_when_sent(
    cluster: MemoryCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    whole = Outputs._said

    def counting(self: Outputs, emit: Emit) -> tuple[type[Event], bytes]:
        built.append(emit.step)
        return whole(self, emit)

    monkeypatch.setattr(Outputs, "_said", counting)
    it = outputs(cluster)
    it.check([missed(1), missed(2)])
    await send(it, [("c", missed(1))])
    assert built == ["s1", "s2"]
    it.forget()
    await send(it, [("c", missed(2))])
    assert built == ["s1", "s2", "s2"]


async def test_closed_cases_go_to_the_archive_under_their_id(cluster: MemoryCluster) -> None:
    case = Case("birth-1", "g", 5, outcome="completed")
    await outputs(cluster).archive({2: [case], 0: []})
    (record,) = cluster.logs[Partition(f"{GROUP}.archive", 2)]
    assert (record.key, case_bytes.from_bytes(record.value or b"")) == (b"birth-1", case)


async def test_a_dead_letter_keeps_the_bytes_and_says_where_it_came_from(cluster: MemoryCluster) -> None:
    bad = Record("health.birth.notified.v1", 4, 17, 0, b"birth-1", b"\xffjunk", (("ce_id", b"1"), ("x", None)))
    await outputs(cluster).dead([Dead(bad, "decode", "Poison", Kind.INVALID)])
    (record,) = cluster.logs[place_of(bad, group=GROUP, partitions=PARTITIONS)]
    assert (record.key, record.value) == (bad.key, bad.value)
    headers = dict(record.headers)
    assert headers["dead_stage"] == b"decode"
    assert headers["dead_error"] == b"Poison"
    assert headers["ce_id"] == b"1"


async def test_partitions_are_sent_side_by_side_not_one_after_the_other(cluster: MemoryCluster) -> None:
    under_way: list[int] = []
    most: list[int] = []

    class Slow:
        async def partitions(self, topic: str) -> int:
            return PARTITIONS

        async def append(self, partition: Partition, records: Sequence[Outgoing]) -> int:
            under_way.append(partition.number)
            await asyncio.sleep(0)
            most.append(len(under_way))
            under_way.remove(partition.number)
            return 0

    it = outputs(cluster)
    it._producer = Slow()  # type: ignore[assignment]  # only what sending needs
    await send(it, [(case, missed(n)) for n, case in enumerate("abcdefgh")])
    assert max(most) == PARTITIONS


async def test_the_event_s_agency_is_the_topic_s_owner(cluster: MemoryCluster) -> None:
    fields = {"request_id": "R-1", "kind": "birth_benefit", "subject": "SYN-P-1", "applicant": "SYN-mother"}
    asked = structs.replace(missed(3), topic=REQUEST, agency="portal", data=Raw(encode(fields)))
    await send(outputs(cluster), [("birth-1", asked)])
    (record,) = stored(cluster, REQUEST)
    assert from_headers(record.headers).agency == "portal"


async def test_a_letter_that_came_back_says_how_often(cluster: MemoryCluster) -> None:
    bad = Record("health.birth.notified.v1", 4, 17, 0, b"birth-1", b"v", ())
    await outputs(cluster).dead([Dead(bad, "case", "late", Kind.REFUSED), Dead(bad, "case", "late", Kind.REFUSED, 2)])
    first, again = (dict(r.headers) for r in cluster.logs[place_of(bad, group=GROUP, partitions=PARTITIONS)])
    assert "dead_redrive" not in first
    assert again["dead_redrive"] == b"2"
    assert first["dead_id"] != again["dead_id"]


async def test_an_event_too_large_for_any_batch_is_refused_while_its_cause_can_still_be_parked(
    cluster: MemoryCluster,
) -> None:
    huge = missed(1, step="x" * 1_100_000)
    with pytest.raises(Refused) as refused:
        outputs(cluster).check([missed(2), huge])
    assert refused.value.field
    it = outputs(cluster)
    with pytest.raises(Refused):
        it.check([missed(2), huge])
    assert not it._built


def test_a_closed_case_beyond_what_the_archive_takes_is_refused(cluster: MemoryCluster) -> None:
    it = outputs(cluster)
    it.check_closed(Case("birth-1", "g", 5, applied=["f" * 16] * 10_000))
    with pytest.raises(Refused, match="limit"):
        it.check_closed(Case("birth-1", "g", 5, applied=["f" * 16] * 60_000))


async def test_settled_rows_get_their_tombstones(cluster: MemoryCluster) -> None:
    cluster.admin().create(TopicState(f"{GROUP}.parked", PARTITIONS, 1))
    it = outputs(cluster)
    await it.settle({1: [b"!a1", b"t\x000\x001"], 2: []})
    assert [(r.key, r.value) for r in cluster.logs[Partition(it.told, 1)]] == [(b"!a1", None), (b"t\x000\x001", None)]
    assert not cluster.logs[Partition(it.told, 2)]
