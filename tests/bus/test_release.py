"""A command for each key, where its group looks for it, and an answer that tells done from hoped for."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from bus.message import Partition
from bus.operators import Operator
from bus.parked_desk import Held, ParkedDesk, row_id
from bus.ports import TopicState
from bus.release import follow, send
from bus.testing import memory_bus, memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.bus_events import OperatorAct, OperatorActed
from tests.bus.letters import CODEC, GROUP, TOPIC, make_topics
from tests.bus.parked import FAILED, NOW, commands, entry, obey, park, row

AT = NOW + timedelta(minutes=1)


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster()
    make_topics(made)
    return made


def look(cluster: MemoryCluster) -> tuple[ParkedDesk, list[Held]]:
    desk = ParkedDesk(cluster.reader(), cluster.topics, progress=lambda sentence: None)
    desk.read([GROUP])
    return desk, desk.held([GROUP])[0]


def tell(cluster: MemoryCluster, held: list[Held], do: str = "release") -> None:
    with memory_bus(cluster, agency="bus") as bus:
        send(held, do, Operator(writer=bus, by="me", action="0" * 16), at=AT)  # type: ignore[arg-type]  # a word of two


def watch(desk: ParkedDesk, held: list[Held], *, patience_s: float = 5.0, stopped: bool = False):  # type: ignore[no-untyped-def]
    seconds = iter(range(1_000))
    told: list[int] = []
    found = follow(
        held,
        desk,
        patience_s=patience_s,
        stop=lambda: stopped,
        progress=told.append,
        sleep=lambda s: None,
        monotonic=lambda: float(next(seconds)),
    )
    return found, told


@pytest.mark.parametrize(("do", "act"), [("release", OperatorAct.RELEASE), ("drop", OperatorAct.DISCARD)])
def test_each_key_gets_a_command_on_its_partition_and_the_act_is_on_record(
    cluster: MemoryCluster, do: str, act: OperatorAct
) -> None:
    park(cluster, entry(1, b"a", partition=0), entry(1, b"b", partition=2), entry(2, b"b", partition=2, queued=True))
    _, held = look(cluster)
    tell(cluster, held, do)
    said = commands(cluster)
    assert sorted((one.key, one.topic, one.do, one.by, one.at) for one in said) == [
        (b"a", TOPIC, do, "me", AT),
        (b"b", TOPIC, do, "me", AT),
    ]
    assert len({one.id for one in said}) == 2
    assert cluster.logs[Partition(f"{GROUP}.parked", 2)][-1].value is not None
    (record,) = cluster.logs[Partition("bus.operator.acted.v1", 0)]
    acted = CODEC.decode(record.value or b"", OperatorActed)
    assert (acted.act, acted.group, acted.planned) == (act, GROUP, 3)
    assert set(acted.letters) == {row_id(GROUP, r.key) for one in held for r in one.rows}


def test_a_case_s_command_goes_to_the_partition_number_of_its_row(cluster: MemoryCluster) -> None:
    cluster.admin().create(TopicState(f"{GROUP}.cases", 3, 1))
    cluster.store(Partition(f"{GROUP}.cases", 2), [row(entry(1, b"case-1", partition=2), case=b"case-1")])
    _, held = look(cluster)
    tell(cluster, held)
    (said,) = commands(cluster)
    assert (said.key, said.topic) == (b"case-1", None)
    assert len(cluster.logs[Partition(f"{GROUP}.parked", 2)]) == 1


def test_done_failed_again_and_not_done_yet_are_told_apart(cluster: MemoryCluster) -> None:
    park(cluster, entry(1, b"a"), entry(2, b"b"), entry(3, b"b", queued=True))
    desk, held = look(cluster)
    tell(cluster, held)
    found, _ = watch(desk, held)
    assert [one.case for one in found.waiting] == ["a", "b"]
    obey(cluster, failing=b"b")
    found, told = watch(desk, held)
    assert ([one.case for one in found.settled], [one.case for one in found.failed]) == (["a"], ["b"])
    assert found.failed[0].why.attempt == 6
    assert told[-1] == 1


def test_a_failure_is_a_new_one_whatever_the_two_machines_take_the_time_to_be(cluster: MemoryCluster) -> None:
    park(cluster, entry(1, b"a"), entry(2, b"a", queued=True))
    desk, held = look(cluster)
    tell(cluster, held)
    again = replace(FAILED, attempt=6, last=AT - timedelta(seconds=5))  # the worker's clock is behind
    park(cluster, replace(entry(1, b"a"), failure=again))
    found, _ = watch(desk, held)
    assert ([one.case for one in found.failed], found.waiting) == (["a"], [])


def test_a_letter_given_back_to_a_key_meanwhile_is_no_failure_of_the_release(cluster: MemoryCluster) -> None:
    park(cluster, entry(2, b"a"))
    desk, held = look(cluster)
    tell(cluster, held)
    park(cluster, replace(entry(1, b"a"), failure=replace(FAILED, attempt=9), action="7f"))
    found, _ = watch(desk, held)
    assert ([one.case for one in found.waiting], found.failed) == (["a"], [])


def test_it_waits_no_longer_than_it_is_told_or_may(cluster: MemoryCluster) -> None:
    park(cluster, entry(1, b"a"))
    desk, held = look(cluster)
    assert len(watch(desk, held, patience_s=0)[1]) == 1
    assert len(watch(desk, held, patience_s=9, stopped=True)[1]) == 1
    assert len(watch(desk, held, patience_s=9)[1]) > 2
