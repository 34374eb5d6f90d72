from __future__ import annotations

from collections.abc import Callable

import pytest

from bus.errors import Refused, Unreachable, UsageError
from bus.message import Partition, Receipt
from bus.ports import TopicState
from bus.publish import Publication
from bus.settings import Settings
from bus.testing import memory_bus, memory_cluster
from bus.transport.kafka import KafkaTransport
from bus.wiring import connect, connect_async
from schemas.catalogue import Catalogue
from schemas.event import Event, PersonalData
from tests.bus.support import CATALOGUE, TOPIC, NoteWritten

OTHER = "justice.note.written.v1"


def test_what_one_agency_publishes_another_handles_once() -> None:
    cluster = memory_cluster(TOPIC, OTHER)
    with memory_bus(cluster, agency="portal", catalogue=CATALOGUE) as bus:
        receipt = bus.publish(NoteWritten(text="hello"), case="c-1")
        again = bus.publish(NoteWritten(text="hello"), case="c-1")
        assert (receipt.id, receipt.offset + 1) == (again.id, again.offset)
        bus.publish(NoteWritten(text="end"), case="c-1")
        got = []
        for delivery in bus.subscribe(NoteWritten, group="g", from_="earliest"):
            with delivery as event:
                got.append((event.text, delivery.message.case))
            if event.text == "end":
                break
    assert got == [("hello", "c-1"), ("end", "c-1")]
    place = Partition(TOPIC, receipt.partition)
    assert cluster.groups["g"].commits == {place: 3}


def test_a_record_that_cannot_be_handled_makes_its_dead_letter_topic_and_is_kept_there() -> None:
    cluster = memory_cluster(TOPIC, OTHER)
    with memory_bus(cluster, agency="portal", catalogue=CATALOGUE) as bus:
        bus.publish(NoteWritten(text="bad"), case="c-1")
        bus.publish(NoteWritten(text="good"), case="c-1")
        for delivery in bus.subscribe(NoteWritten, group="g"):
            with delivery as event:
                if event.text == "bad":
                    raise Refused("no legal basis")
            if event.text == "good":
                break
    (letter,) = cluster.logs[Partition("g.dead", 0)]
    assert dict(letter.headers)["dead_error"] == b"Refused"
    assert letter.value == next(r.value for log in cluster.logs.values() for r in log)


def test_a_bus_without_an_agency_reads_but_does_not_publish() -> None:
    with memory_bus(memory_cluster(TOPIC), catalogue=CATALOGUE) as bus:
        with pytest.raises(UsageError, match="in whose name"):
            bus.publish(NoteWritten(text="a"), case="c")
        with pytest.raises(UsageError, match="no place to start"):
            bus.subscribe(NoteWritten, group="g", from_="yesterday", publishers=["portal"])


def test_no_broker_is_one_sentence_with_the_remedy() -> None:
    settings = Settings(bootstrap="127.0.0.1:1", publish_deadline_s=5)
    with pytest.raises(Unreachable, match="agencybus up") as none, connect(settings=settings):
        pass
    assert none.value.exit_code == 4


async def test_the_asynchronous_bus_reads_the_same() -> None:
    cluster = memory_cluster(TOPIC, OTHER)
    settings = Settings(agency="portal", publish_deadline_s=5)
    async with connect_async(settings=settings, transport=cluster, catalogue=CATALOGUE, clock=cluster.clock) as bus:
        said = [Publication(event=NoteWritten(text=t), case="c") for t in ("a", "bad", "end")]
        assert all(isinstance(r, Receipt) for r in await bus.publish_all(said))
        got = []
        deliveries = bus.subscribe(NoteWritten, group="g")
        async for delivery in deliveries:
            async with delivery as event:
                if event.text == "bad":
                    raise Refused("no")
                got.append(event.text)
            if event.text == "end":
                await deliveries.aclose()  # type: ignore[attr-defined]
                break
    assert got == ["a", "end"]
    assert len(cluster.logs[Partition("g.dead", 0)]) == 1


@pytest.mark.kafka
def test_on_real_kafka_events_cross_from_one_agency_to_another(kafka: str, fresh: Callable[[str], str]) -> None:
    agency = fresh("portal")

    class Fact(Event, contract="fact.told", agencies=(agency,), personal_data=PersonalData.NONE):
        """A fact."""

        number: int
        """Which."""

    catalogue = Catalogue([Fact])
    topic = Fact.topic(agency)
    admin = KafkaTransport(bootstrap=kafka).admin()
    admin.create(TopicState(topic, 3, 1, {"message.timestamp.type": "LogAppendTime"}))
    settings = Settings(bootstrap=kafka, agency=agency)
    with connect(settings=settings, catalogue=catalogue) as bus:
        said = [Publication(event=Fact(number=i), case=f"c-{i % 7}") for i in range(200)]
        assert all(isinstance(r, Receipt) for r in bus.publish_all(said))
        assert isinstance(bus.publish(Fact(number=200), case="c-0"), Receipt)
        got: list[int] = []
        for delivery in bus.subscribe(Fact, group=f"{agency}-g", from_="earliest"):
            with delivery as event:
                got.append(event.number)
                if event.number == 13:
                    raise Refused("unlucky")
            if len(got) == 201:
                break
    assert sorted(got) == list(range(201))
    assert [n for n in got if n % 7 == 3] == list(range(3, 200, 7))  # in order within a case
    reader = KafkaTransport(bootstrap=kafka).reader()
    (letter,) = reader.read(Partition(f"{agency}-g.dead", 0), 0, 1)
    assert dict(letter.headers)["dead_topic"] == topic.encode()
    reader.close()
    assert sum(admin.committed([f"{agency}-g"])[f"{agency}-g"].values()) == 201
    admin.close()
