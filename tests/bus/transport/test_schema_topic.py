from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from bus.errors import Refused
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from bus.transport.schema_topic import PLACE, TOPIC, SchemaTopic, subject_of
from schemas.avro import schema_id, schema_of
from schemas.birth import BirthRegistered, IdentityEntered

SCHEMAS = TopicState(TOPIC, 1, 1, {"cleanup.policy": "compact"})
ONE, TWO = schema_of(BirthRegistered), schema_of(IdentityEntered)


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster()
    made.admin().create(SCHEMAS)
    return made


def schemas(cluster: MemoryCluster) -> SchemaTopic:
    def append(place: Partition, records: Sequence[Outgoing]) -> int:
        return cluster.store(place, records)

    return SchemaTopic(cluster.reader(), append)


def test_a_version_is_written_as_confluent_s_registry_writes_it(cluster: MemoryCluster) -> None:
    assert schemas(cluster).register("justice.birth.registered.v1", ONE, 5) == 1
    record = cluster.logs[PLACE][0]
    assert record.key == (b'{"keytype":"SCHEMA","subject":"justice.birth.registered.v1-value","version":1,"magic":1}')
    value = json.loads(record.value or b"")
    assert (value["subject"], value["version"], value["id"], value["deleted"]) == (
        subject_of("justice.birth.registered.v1"),
        1,
        5,
        False,
    )
    assert json.loads(value["schema"]) == ONE


def test_registering_twice_changes_nothing_and_a_new_schema_is_the_next_version(cluster: MemoryCluster) -> None:
    topic = schemas(cluster)
    assert [topic.register("t.a.b.v1", ONE, schema_id(ONE)) for _ in range(3)] == [1, 1, 1]
    assert topic.register("t.a.b.v1", TWO, schema_id(TWO)) == 2
    assert topic.register("other.a.b.v1", ONE, schema_id(ONE)) == 1  # a shared contract: same schema, same id
    assert len(cluster.logs[PLACE]) == 3
    assert topic.read_all() == {schema_id(ONE): ONE, schema_id(TWO): TWO}


def test_an_id_that_stands_for_another_schema_is_refused(cluster: MemoryCluster) -> None:
    topic = schemas(cluster)
    topic.register("t.a.b.v1", ONE, 5)
    with pytest.raises(Refused, match="already stands for"):
        topic.register("t.c.d.v1", TWO, 5)
    assert len(cluster.logs[PLACE]) == 1


def test_without_the_topic_there_is_no_schema_and_foreign_records_are_passed_over() -> None:
    cluster = memory_cluster()
    assert SchemaTopic(cluster.reader()).read_all() == {}
    cluster.admin().create(SCHEMAS)
    key = b'{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}'
    schemas(cluster).register("t.a.b.v1", ONE, 5)
    cluster.store(
        PLACE,
        [
            Outgoing(b'{"keytype":"NOOP","magic":0}', None),
            Outgoing(None, b"\xff"),
            Outgoing(b"\xff", b"\xff"),
            Outgoing(key, b"no json"),
            Outgoing(key, b"[]"),
            Outgoing(key, b'{"id":9,"schema":"' + b"[" * 10),
            Outgoing(key, json.dumps({"id": 9, "schema": json.dumps(TWO), "schemaType": "JSON"}).encode()),
        ],
    )
    assert SchemaTopic(cluster.reader()).read_all() == {5: ONE}
    gone = cluster.logs[PLACE][0].key
    cluster.store(PLACE, [Outgoing(gone, None)])
    assert SchemaTopic(cluster.reader()).read_all() == {}
    assert TOPIC == "_schemas"
