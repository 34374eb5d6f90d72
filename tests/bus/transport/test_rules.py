"""What every transport refuses: the size rule is checked against the batches a real client builds."""

from __future__ import annotations

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from hypothesis import example, given
from hypothesis import strategies as st

from bus.errors import Refused
from bus.message import Outgoing
from bus.transport import rules

bytes_or_none = st.none() | st.binary(max_size=300)
headers = st.lists(st.tuples(st.text(max_size=40), bytes_or_none), max_size=8).map(tuple)


@example(Outgoing(b"k", b"v", (("\N{DECIDUOUS TREE}" * 60, b""),)))  # four bytes a character
@given(st.builds(Outgoing, bytes_or_none, bytes_or_none, headers))
def test_a_record_never_takes_more_bytes_than_the_rule_says(record: Outgoing) -> None:
    batch = DefaultRecordBatchBuilder(2, 0, 0, 0, 0, 0, 1 << 20)
    batch.append(0, 1_800_000_000_000, record.key, record.value, list(record.headers))
    assert len(batch.build()) <= rules.record_bytes(record) + rules._BATCH_OVERHEAD


def test_a_record_of_exactly_the_limit_passes_and_one_byte_more_is_refused_with_both_sizes() -> None:
    room = rules.BATCH_BYTES - rules._BATCH_OVERHEAD - rules.record_bytes(Outgoing(b"k", b""))
    rules.check_sizes([Outgoing(b"k", b"x" * room)])
    with pytest.raises(Refused, match=r"999,940 bytes .* limit is 1,000,000") as refused:
        rules.check_sizes([Outgoing(b"k", b"x"), Outgoing(b"k", b"x" * (room + 1))])
    assert refused.value.field == "record"
    assert "reference" in refused.value.remedy


def test_the_limit_can_be_a_topic_s_own() -> None:
    rules.check_size(439, limit=500)
    with pytest.raises(Refused):
        rules.check_size(440, limit=500)


def test_nothing_to_append_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one record"):
        rules.check_sizes([])


def test_a_missing_topic_and_partition_are_named_with_what_to_do() -> None:
    assert "portal.a.b.v1" in rules.no_topic("portal.a.b.v1").message
    assert "agencybus topics apply" in rules.no_topic("portal.a.b.v1").remedy
    assert rules.no_partition("portal.a.b.v1", 9).message == "portal.a.b.v1 has no partition 9."
    assert (rules.no_topic("t").field, rules.no_partition("t", 9).field) == ("topic", "partition")
