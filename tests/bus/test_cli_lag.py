"""`lag`: the contract's document on real Kafka, ages in people's words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from bus.cli import lag, main
from bus.errors import Unreachable
from bus.lag import Row
from bus.message import Outgoing, Partition
from bus.ports import Admin, TopicState
from bus.testing import eventually
from bus.transport.kafka import KafkaTransport


class _Probe:
    """A probe whose samples are given; an error among them is raised."""

    def __init__(self, samples: list[list[Row] | BaseException]) -> None:
        self._samples = iter(samples)

    def sample(self, group: str | None) -> list[Row]:
        found = next(self._samples)
        if isinstance(found, BaseException):
            raise found
        return found


def _row(number: int, age: float) -> Row:
    return Row(
        group="g", topic="t", partition=number, committed=1, end=2, lag=1, state="value", oldest_age_s=age, case=None
    )


def test_watching_shows_the_oldest_first_and_outlives_a_broker_that_is_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [_row(7, 60.0), _row(8, 7200.0)]
    probe = _Probe([rows, Unreachable("The broker is away."), rows, Unreachable("Away again."), KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        lag._watch(probe, None, 0.0)  # type: ignore[arg-type]  # has all that is used
    shown = capsys.readouterr().out
    assert "Away again." in shown
    assert shown.index("2.0 h") < shown.index("1 min")


@pytest.mark.kafka
def test_on_kafka_the_document_is_the_contract_s(
    kafka: str, fresh: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    topic, group = f"{fresh('t')}.b.c.v1", fresh("g")
    transport = KafkaTransport(bootstrap=kafka)
    admin = transport.admin()
    try:
        admin.create(TopicState(topic, 2, 1, {"message.timestamp.type": "LogAppendTime"}))
        asyncio.run(_append(transport, Partition(topic, 1)))
        eventually(lambda: _committed(admin, group, {Partition(topic, 1): 1}))
    finally:
        admin.close()
    assert main.main(["lag", "--json", "--group", group, "--bootstrap", kafka]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["at", "rows"]
    idle, behind = told["rows"]
    age = behind.pop("oldest_age_s")
    assert 0 <= age < 60
    assert behind == {
        "group": group,
        "topic": topic,
        "partition": 1,
        "committed": 1,
        "end": 3,
        "lag": 2,
        "state": "value",
        "case": "case-1",
    }
    assert (idle["state"], idle["lag"], idle["committed"], idle["oldest_age_s"]) == ("not committed", None, None, None)
    assert main.main(["lag", "--group", group, "--bootstrap", kafka]) == 0
    assert "not committed" in capsys.readouterr().out


async def _append(transport: KafkaTransport, place: Partition) -> None:
    producer = transport.producer()
    await producer.start()
    try:
        await producer.append(place, [Outgoing(b"case-%d" % n, b"") for n in range(3)])
    finally:
        await producer.stop()


def _committed(admin: Admin, group: str, positions: dict[Partition, int]) -> bool:
    """Commit; False while the cluster is still making its topic of commits."""
    try:
        admin.commit(group, positions)
    except Unreachable:
        return False
    return True
