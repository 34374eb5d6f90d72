"""What would become of a letter's record today: the same steps as its reader takes, with today's contracts.

Called by `agencybus dlq show` and `dlq redrive --dry-run`. The trap it avoids: a rehearsal kinder than the reader; it
opens records with the reader's own function, and for a workflow asks also what its intake asks of the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bus.consume import Decoder, open_record
from bus.letters import Letter
from bus.message import Record
from bus.middleware.parking import Entry, Mode, fits
from bus.partitioner import partition_for
from bus.pipeline import stage_of
from schemas import names
from schemas.catalogue import Catalogue
from schemas.envelope import Envelope
from schemas.errors import EnvelopeRefused, SchemaSideError
from schemas.explain import Fault, Spot, explain

_OPENED = {"batch", "envelope", "type", "decode"}
_OF_CASES = {"case", "emit", "step", "timer", "read", "size"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a redrive of a letter would come to.

    Args:
        outcome: ``passes`` (its fault is gone), ``opens`` (as it did before: the handler or workflow decides),
            ``fails`` again, or ``stuck`` (it cannot be redriven at all).
        stage: where it fails. reason: why, a clause that quotes no payload; of ``opens`` what decides.
    """

    outcome: str
    stage: str = ""
    reason: str = ""


def judge(
    letter: Letter, record: Record | None, *, catalogue: Catalogue, codec: Decoder, case_partitions: int | None = None
) -> Verdict:
    """Open a letter's record as its reader would.

    Args:
        letter: without its bytes.
        record: the original with them; None when they are nowhere any more.
        catalogue: today's contracts.
        codec: decodes by them.
        case_partitions: of the case log, when the group is a workflow's.
    """
    why = stuck(letter, record)
    if why is not None or record is None:
        return Verdict("stuck", letter.failure.stage, why or "")
    try:
        message = open_record(record, catalogue=catalogue, codec=codec)
        if case_partitions is not None:
            _of_case(record, message.envelope, case_partitions)
    except SchemaSideError as error:
        return Verdict("fails", stage_of(error), str(error))
    stage = letter.failure.stage
    if stage in _OPENED and not (stage == "type" and case_partitions is not None):
        return Verdict("passes")
    # Which topics a workflow listens to stands in its definition, which is not asked here.
    told = "the workflow decides" if stage in _OF_CASES or case_partitions is not None else "the handler decides"
    return Verdict("opens", stage, told)


@dataclass(frozen=True, slots=True)
class Look:
    """A letter seen from close by.

    Args:
        verdict: what a redrive would come to.
        spots: the fields that its bytes say. fault: where they stop being an event of its topic, None when nowhere.
    """

    verdict: Verdict
    spots: tuple[Spot, ...] = ()
    fault: Fault | None = None


def look(
    letter: Letter,
    record: Record | None,
    *,
    catalogue: Catalogue,
    codec: Decoder,
    writers: Mapping[int, dict[str, Any]],
    case_partitions: int | None = None,
) -> Look:
    """As `judge`, and what the bytes say by the contract of their topic, field by field.

    Args:
        letter: without its bytes.
        record: the original with them.
        catalogue: today's contracts.
        codec: decodes by them.
        writers: schemas of other versions by id.
        case_partitions: of the case log, when the group is a workflow's.
    """
    verdict = judge(letter, record, catalogue=catalogue, codec=codec, case_partitions=case_partitions)
    if record is None or record.value is None or letter.span is not None:
        return Look(verdict)
    try:
        found = explain(record.value, catalogue.topic(record.topic).model, writers=writers)
    except SchemaSideError:
        return Look(verdict)  # no contract to read it by; the verdict says so
    return Look(verdict, found.spots, found.fault)


def stuck(letter: Letter, record: Record | None) -> str | None:
    """Why this letter cannot be given back to its group at all; None when it can."""
    if letter.span is not None:
        return "no client can parse its bytes, so there is no record to give back"
    if record is None:
        return "its bytes did not fit into the letter, and its topic no longer has them"
    if not fits(entry_of(letter, record, redrive=1, action="0" * 16)):
        return "it is too large to be stored once more beside what is told of it"
    return None


def entry_of(letter: Letter, record: Record, *, redrive: int, action: str) -> Entry:
    """The entry that gives a record back to its group, in the order of its key and as soon as can be.

    Args:
        letter: why it was given up.
        record: with its original bytes, headers and place.
        redrive: the number of this redrive.
        action: the operator's.
    """
    failure = letter.failure
    return Entry(record=record, failure=failure, mode=Mode.KEY, due=failure.last, redrive=redrive, action=action)


def _of_case(record: Record, envelope: Envelope, partitions: int) -> None:
    """What a workflow's intake asks beyond the envelope: a case that is the key, on the key's own partition."""
    case = envelope.correlationid or ""
    if record.key != case.encode():
        raise EnvelopeRefused("ce_correlationid", "is missing or is not the record key")
    names.case_id(case)
    if record.partition != partition_for(record.key, partitions):
        raise EnvelopeRefused("key", "belongs to another partition than the one it stands on")
