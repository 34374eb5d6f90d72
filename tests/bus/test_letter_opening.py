"""A rehearsal that is no kinder than the reader: each verdict is what a redrive would really come to."""

from __future__ import annotations

import pytest
from msgspec import structs

from bus.letter_opening import Verdict, entry_of, judge, look, stuck
from bus.letters import Letter
from bus.message import Outgoing, Record, Unreadable
from bus.middleware.parking import Mode, fits, pack, unpack
from bus.partitioner import partition_for
from schemas.catalogue import standard
from tests.bus.letters import BUG, CODEC, DECODE, TOPIC, failure, request
from tests.bus.test_letters import letter

CATALOGUE = standard()


def stored(sent: Outgoing, *, topic: str = TOPIC, partition: int = 0) -> Record:
    return Record(topic, partition, 7, 1_000, sent.key, sent.value, sent.headers)


GOOD = stored(request(1, case="case-1"))
BAD = stored(request(1, case="case-1", good=False))


def verdict(one: Letter, record: Record | None, *, case_partitions: int | None = None) -> Verdict:
    return judge(one, record, catalogue=CATALOGUE, codec=CODEC, case_partitions=case_partitions)


def test_a_fault_that_is_gone_passes_and_one_that_is_not_fails_again_and_says_why() -> None:
    assert verdict(letter(GOOD, DECODE), GOOD) == Verdict("passes")
    found = verdict(letter(BAD, DECODE), BAD)
    assert (found.outcome, found.stage) == ("fails", "decode")
    assert "request.created" in found.reason
    headless = structs.replace(GOOD, headers=())
    assert verdict(letter(headless, DECODE), headless).stage == "envelope"
    unknown = structs.replace(GOOD, topic="portal.never.heard.v1")
    assert verdict(letter(unknown, DECODE), unknown).stage in {"type", "envelope"}


@pytest.mark.parametrize(("stage", "who"), [("handler", "handler"), ("case", "workflow"), ("emit", "workflow")])
def test_what_opened_before_opens_again_and_others_decide(stage: str, who: str) -> None:
    found = verdict(letter(GOOD, failure(stage, BUG.kind, "x")), GOOD)
    assert (found.outcome, found.reason) == ("opens", f"the {who} decides")


def test_what_a_workflow_listens_to_is_not_promised() -> None:
    there = structs.replace(GOOD, partition=partition_for(b"case-1", 6))
    one = letter(there, failure("type", DECODE.kind, "NotListened"))
    assert verdict(one, there, case_partitions=6).outcome == "opens"
    assert verdict(one, there).outcome == "passes"


def test_a_workflow_asks_for_the_case_and_its_partition_too() -> None:
    right = partition_for(b"case-1", 6)
    there, elsewhere = structs.replace(GOOD, partition=right), structs.replace(GOOD, partition=(right + 1) % 6)
    assert verdict(letter(there, DECODE), there, case_partitions=6).outcome == "passes"
    found = verdict(letter(elsewhere, DECODE), elsewhere, case_partitions=6)
    assert "another partition" in found.reason
    keyed = structs.replace(there, key=b"another")
    assert verdict(letter(keyed, DECODE), keyed, case_partitions=6).outcome == "fails"
    assert verdict(letter(keyed, DECODE), keyed).outcome == "passes"


def test_what_can_never_be_given_back_says_why() -> None:
    raw = Unreadable(b"raw", reason="crc", scope="batch", first=1, last=9)
    batch = letter(structs.replace(GOOD, key=None, value=raw, headers=()), DECODE)
    assert "parse" in (stuck(batch, GOOD) or "")
    assert "no longer" in (stuck(letter(GOOD), None) or "")
    large = structs.replace(GOOD, value=b"x" * 949_900, headers=())
    assert "too large" in (stuck(letter(large), large) or "")
    assert stuck(letter(GOOD), GOOD) is None
    assert verdict(letter(GOOD), None).outcome == "stuck"


def test_an_entry_carries_the_record_and_is_due_at_once() -> None:
    one = letter(GOOD, BUG)
    entry = entry_of(one, GOOD, redrive=2, action="0" * 16)
    assert unpack(pack(entry)) == entry
    assert fits(entry)
    assert (entry.record, entry.failure, entry.mode, entry.redrive) == (GOOD, BUG, Mode.KEY, 2)
    assert entry.due == BUG.last


def test_a_close_look_names_field_and_byte_and_survives_what_has_no_contract() -> None:
    found = look(letter(BAD, DECODE), BAD, catalogue=CATALOGUE, codec=CODEC, writers={})
    assert found.fault is not None
    assert found.spots[0].path == "request_id"
    assert found.verdict.outcome == "fails"
    good = look(letter(GOOD, DECODE), GOOD, catalogue=CATALOGUE, codec=CODEC, writers={})
    assert (good.fault, good.verdict.outcome) == (None, "passes")
    for other in (structs.replace(GOOD, topic="portal.never.heard.v1"), structs.replace(GOOD, value=None)):
        assert look(letter(other), other, catalogue=CATALOGUE, codec=CODEC, writers={}).spots == ()
    assert look(letter(GOOD), None, catalogue=CATALOGUE, codec=CODEC, writers={}).fault is None
