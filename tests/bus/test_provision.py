"""A cluster brought to a topology: topics and schemas, over memory."""

from __future__ import annotations

import pytest

from bus import topology
from bus.apply import Result
from bus.ports import Reader
from bus.provision import Provisioner
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster, MemoryReader
from bus.transport.schema_topic import TOPIC, SchemaTopic
from schemas import avro
from schemas.birth import BenefitAssigned
from schemas.catalogue import standard

BENEFITS = "social-fund.benefit.assigned.v1"


@pytest.fixture
def cluster() -> MemoryCluster:
    return memory_cluster()


def test_an_empty_cluster_gets_every_topic_with_its_schema_and_then_has_nothing_to_change(
    cluster: MemoryCluster,
) -> None:
    wanted = topology.load(topology.STANDARD, standard())
    told: list[Result] = []
    with Provisioner(cluster, standard(), brokers=1) as found:
        results = found.apply(found.plan(wanted), report=told.append)
        assert {result.outcome for result in results} == {"done"}
        assert tuple(told) == results
        assert found.plan(wanted).actions == ()
    names = {kind.topic for kind in standard().types()}
    assert names | {TOPIC} <= set(cluster.topics)
    registered = SchemaTopic(cluster.reader()).registered()
    assert {f"{name}-value" for name in names} == set(registered)
    ours = avro.schema_id(avro.schema_of(BenefitAssigned))
    assert registered[f"{BENEFITS}-value"] == {ours}
    assert cluster.topics[BENEFITS].replication == 1, "auto follows the number of brokers given"


def test_a_topic_whose_schema_nobody_registered_is_a_change(cluster: MemoryCluster) -> None:
    wanted = topology.load(topology.STANDARD, standard())
    with Provisioner(cluster, standard(), brokers=1) as found:
        found.apply(found.plan(wanted))
        cluster.admin().delete(TOPIC)
        kinds = {action.kind for action in found.plan(wanted).actions if action.topic == BENEFITS}
        assert kinds == {"schema"}


def test_leaving_the_block_disconnects_also_after_an_error() -> None:
    closed: list[str] = []

    class Noting(MemoryCluster):
        def reader(self) -> Reader:  # type: ignore[override]
            class Closing(MemoryReader):
                def close(self) -> None:
                    closed.append("reader")

            return Closing(self)

    with pytest.raises(ZeroDivisionError), Provisioner(Noting(memory_cluster().clock), standard(), brokers=1):
        raise ZeroDivisionError
    assert closed == ["reader"]
