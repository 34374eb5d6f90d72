from __future__ import annotations

from itertools import pairwise

import pytest

from bus.consume import open_record
from bus.errors import Refused, Unreachable, UsageError
from bus.message import Outgoing, Partition, Record, Unreadable, UnreadableRecord
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.errors import EnvelopeRefused, Poison, UnknownType
from tests.bus.delivery import PLACE, Desk, outgoing
from tests.bus.support import CATALOGUE, TOPIC, PlainCodec


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster(TOPIC, partitions=1)


def test_leaving_the_block_acknowledges_and_leaving_the_loop_commits(cluster: MemoryCluster) -> None:
    cluster.store(PLACE, [outgoing(f"e{i}") for i in range(5)])
    desk = Desk(cluster)
    got = []
    for delivery in desk.subscription:
        with delivery as event:
            got.append(event.text)
        if len(got) == 3:
            break
    desk.subscription.close()
    assert got == ["e0", "e1", "e2"]
    assert desk.committed() == 3
    assert not cluster.groups["g"].members


def test_stopping_inside_the_block_acknowledges_nothing(cluster: MemoryCluster) -> None:
    cluster.store(PLACE, [outgoing("e0")])
    desk = Desk(cluster)

    def read() -> None:
        for delivery in desk.subscription:
            with delivery:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    desk.subscription.close()
    assert desk.committed() == 0


def test_a_delivery_that_is_passed_over_is_an_error_and_not_a_loss(cluster: MemoryCluster) -> None:
    cluster.store(PLACE, [outgoing("e0"), outgoing("e1")])
    desk = Desk(cluster)
    with pytest.raises(UsageError, match="passed over"):
        for _ in desk.subscription:
            pass
    assert desk.committed() == 0


def test_a_failing_handler_is_tried_in_place_so_order_holds(cluster: MemoryCluster) -> None:
    cluster.store(PLACE, [outgoing("e0"), outgoing("e1")])
    desk = Desk(cluster)
    tries: list[str] = []
    for delivery in desk.subscription:
        with delivery as event:
            tries.append(event.text)
            if tries.count("e0") < 3:
                raise ValueError
        if event.text == "e1":
            desk.subscription.close()
    assert tries == ["e0", "e0", "e0", "e1"]
    assert desk.letters() == []


def test_what_cannot_be_handled_is_buried_and_the_next_is_delivered(cluster: MemoryCluster) -> None:
    evil = Outgoing(b"c", b"junk", outgoing("x").headers)
    cluster.store(PLACE, [outgoing("e0"), evil, Outgoing(None, None), outgoing("e1")])
    desk = Desk(cluster)
    for delivery in desk.subscription:
        with delivery as event:
            if event.text == "e0":
                raise Refused("no legal basis")
            desk.subscription.close()
    letters = cluster.logs[Partition("g.dead", 0)]
    assert [letter.value for letter in letters] == [outgoing("e0").value, b"junk", None]


def test_a_repeated_event_is_delivered_once(cluster: MemoryCluster) -> None:
    cluster.store(PLACE, [outgoing("e0"), outgoing("e0"), outgoing("e0", source="/workflows/birth"), outgoing("end")])
    cluster.faults.doubled_polls = 1
    desk = Desk(cluster)
    got = []
    for delivery in desk.subscription:
        with delivery as event:
            got.append((event.text, delivery.message.envelope.source))
        if event.text == "end":
            desk.subscription.close()
    assert got == [("e0", "/agencies/portal"), ("e0", "/workflows/birth"), ("end", "/agencies/portal")]


def test_an_outage_keeps_the_record_and_polls_to_stay_a_member(cluster: MemoryCluster) -> None:
    cluster.store(PLACE, [outgoing("e0"), outgoing("e1")])
    desk = Desk(cluster)
    got = []
    for delivery in desk.subscription:
        with delivery as event:
            if desk.time.seconds < 200:
                raise Unreachable("the registry is down")
            got.append(event.text)
        if event.text == "e1":
            desk.subscription.close()
    assert got == ["e0", "e1"]
    assert desk.letters() == []
    assert max(b - a for a, b in pairwise(desk.consumer.polls)) < 100


def test_a_commit_that_comes_too_late_is_left_to_the_new_owner(
    cluster: MemoryCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.store(PLACE, [outgoing(f"e{i}") for i in range(4)])
    desk = Desk(cluster)
    got = []
    for delivery in desk.subscription:
        with delivery as event:
            got.append(event.text)
            if event.text == "e1" and len(got) == 2:
                desk.consumer.evict()
                desk.time.seconds += 2  # a commit is due
        if event.text == "e3":
            desk.subscription.close()
    assert got == ["e0", "e1", "e2", "e3"]  # read again from the start, but e0 and e1 are known
    assert "delivered again" in caplog.text


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (outgoing("e", topic="portal.note.written.v2"), EnvelopeRefused),
        (outgoing("e", source="/agencies/health"), EnvelopeRefused),
        (Outgoing(b"c", b"v"), EnvelopeRefused),
        (Outgoing(b"c", None, outgoing("e").headers), Poison),
        (Outgoing(b"c", b"v", outgoing("e").headers), Poison),
    ],
)
def test_a_record_opens_only_as_its_topic_s_owner_wrote_it(record: Outgoing, error: type[Exception]) -> None:
    stored = Record(TOPIC, 0, 0, 0, record.key, record.value, record.headers)
    with pytest.raises(error):
        open_record(stored, catalogue=CATALOGUE, codec=PlainCodec())


def test_what_no_client_could_parse_does_not_open_whatever_else_the_record_says() -> None:
    value = Unreadable(outgoing("e").value or b"", reason="header-key", scope="record", first=3, last=3)
    with pytest.raises(UnreadableRecord, match="header-key"):
        open_record(Record(TOPIC, 0, 3, 0, b"c", value, outgoing("e").headers), catalogue=CATALOGUE, codec=PlainCodec())


def test_an_unknown_topic_is_an_unknown_type() -> None:
    record = outgoing("e", topic="portal.note.lost.v1")
    with pytest.raises(UnknownType):
        open_record(
            Record("portal.note.lost.v1", 0, 0, 0, None, record.value, record.headers),
            catalogue=CATALOGUE,
            codec=PlainCodec(),
        )
