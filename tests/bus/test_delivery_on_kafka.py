"""The delivery policies through the SDK's door on real Kafka: parking, release, later tries, a restart in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from bus.message import Outgoing, Partition
from bus.middleware.parking import Command, command_key, is_command, pack_command, unpack
from bus.middleware.retry import Policy, RetryPolicy
from bus.ports import TopicState
from bus.settings import Settings
from bus.testing import put
from bus.transport.kafka import KafkaTransport
from bus.wiring import Bus, connect
from schemas.catalogue import Catalogue
from schemas.event import Event, PersonalData

pytestmark = pytest.mark.kafka
RETRY = RetryPolicy(attempts=2, base_s=0.02)


class Office:
    """An agency with one contract on a topic of its own, and a group that reads it."""

    def __init__(self, kafka: str, agency: str) -> None:
        class Fact(Event, contract="fact.told", agencies=(agency,), personal_data=PersonalData.NONE):
            """A fact."""

            number: int
            """Which."""

        self.model = Fact
        self.catalogue = Catalogue([Fact])
        self.topic = Fact.topic(agency)
        self.group = f"{agency}-g"
        self.settings = Settings(bootstrap=kafka, agency=agency)
        self.transport = KafkaTransport(bootstrap=kafka)
        admin = self.transport.admin()
        admin.create(TopicState(self.topic, 3, 1, {"message.timestamp.type": "LogAppendTime"}))
        admin.close()

    def publish(self, said: dict[int, str]) -> None:
        """Publish facts by number with their case."""
        with connect(settings=self.settings, catalogue=self.catalogue) as bus:
            for number, case in said.items():
                bus.publish(self.model(number=number), case=case)

    def facts(self, bus: Bus, policy: Policy) -> Iterator[tuple[int, Callable[[Exception | None], None]]]:
        """Each fact's number, and what to call with how it went."""
        for delivery in bus.subscribe(self.model, group=self.group, policy=policy):
            number: int = delivery._attempt.message.event.number  # type: ignore[attr-defined]  # a fact

            def end(error: Exception | None, delivery: object = delivery) -> None:
                with delivery:  # type: ignore[attr-defined]  # a delivery
                    if error is not None:
                        raise error

            yield number, end

    def read(self, policy: Policy, *, failing: int | None = None, last: int) -> list[int]:
        """The numbers tried, in order, until `last` went well; it is published once `failing` was given up."""
        tried: list[int] = []
        with connect(settings=self.settings, catalogue=self.catalogue) as bus:
            for number, end in self.facts(bus, policy):
                tried.append(number)
                end(ValueError() if number == failing else None)
                if number == failing and tried.count(number) == policy.retry.attempts:
                    self.publish({last: "z"})
                if number == last:
                    break
        return tried

    def rows(self) -> dict[bytes, bytes | None]:
        """The rows of what is parked, the last of each."""
        reader = self.transport.reader()
        found: dict[bytes, bytes | None] = {}
        for number in range(reader.partitions(f"{self.group}.parked")):
            place = Partition(f"{self.group}.parked", number)
            for row in reader.read(place, *reader.bounds([place])[place]):
                found[row.key or b""] = row.value
        reader.close()
        return found

    def release(self, case: str, number: int) -> None:
        """Say so as an operator."""
        said = Command(id="a1", do="release", topic=self.topic, key=case.encode(), by="clerk", at=datetime.now(UTC))
        put(
            self.transport,
            Partition(f"{self.group}.parked", number),
            [Outgoing(command_key(said), pack_command(said))],
        )


@pytest.fixture
def office(kafka: str, fresh: Callable[[str], str]) -> Office:
    return Office(kafka, fresh("portal"))


def test_a_bug_parks_its_case_over_a_restart_until_it_is_released_and_order_holds(office: Office) -> None:
    policy = Policy(retry=RETRY)
    office.publish({1: "a", 2: "b", 3: "a", 4: "b"})
    tried = office.read(policy, failing=1, last=9)
    assert [n for n in tried if n not in {2, 4}] == [1, 1, 9]
    waiting = [unpack(value).record for value in office.rows().values() if value is not None]
    assert {record.key for record in waiting} == {b"a"}
    admin = office.transport.admin()
    made = admin.topics()[f"{office.group}.parked"]
    admin.close()
    assert (made.partitions, made.config["cleanup.policy"], made.config["retention.ms"]) == (3, "compact", "-1")
    office.publish({5: "a", 10: "b"})
    assert not {1, 3, 5} & set(office.read(policy, last=10)), "a new member knows what is parked"
    office.release("a", waiting[0].partition)
    office.publish({7: "a"})
    assert [n for n in office.read(policy, last=7) if n % 2] == [1, 3, 5, 7]
    assert set(office.rows().values()) == {None}


def test_where_order_does_not_matter_the_record_is_tried_later_and_at_last_a_dead_letter(office: Office) -> None:
    policy = Policy(ordered=False, retry=RETRY, delay_s=0.5, delays=2)
    office.publish({1: "a", 2: "a"})
    tried: list[int] = []
    with connect(settings=office.settings, catalogue=office.catalogue) as bus:
        for number, end in office.facts(bus, policy):
            tried.append(number)
            end(ValueError() if number == 1 else None)
            if tried.count(1) == 4:
                office.publish({3: "b"})
            if number == 3:
                break
    assert [n for n in tried if n != 1] == [2, 3], "it held nothing back"
    assert tried.count(1) == 4
    reader = office.transport.reader()
    (letter,) = reader.read(Partition(f"{office.group}.dead", 0), 0, 1)
    reader.close()
    assert dict(letter.headers)["dead_attempt"] == b"4"
    assert [key for key, value in office.rows().items() if value is not None and not is_command(key)] == []
