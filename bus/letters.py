"""What stands on a group's dead-letter topic, read back: the letter, what caused it, and what can be done about it.

Called by `bus.ledger` and the commands `dlq`. Pure. The counterpart of `bus.middleware.dead_letter`, which writes
letters. The traps it avoids: a header of the original taken for one of ours (ours stand last, after the last
``dead_group``), a letter that a crash stored twice counted twice, and a record that somebody put there by hand ending
the whole list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from bus.message import Headers, Partition, Record
from bus.middleware.dead_letter import PREFIX, Failure, letter_id
from bus.middleware.retry import Kind
from schemas.envelope import format_time, parse_time, to_ms

_ID, _MARK = f"{PREFIX}id", f"{PREFIX}group"  # the first of our headers; the oldest letters have no id


class NotALetter(ValueError):
    """A record of a dead-letter topic that this program cannot read as a letter; says why."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What letters have in common: one fault makes many of them.

    Args:
        group: which gave the records up. topic: theirs.
        stage: where they failed. error: see `bus.middleware.dead_letter.Failure`. kind: of failure.
    """

    group: str
    topic: str
    stage: str
    error: str
    kind: Kind

    @property
    def id(self) -> str:
        """Eight hexadecimal digits to type; the same on every machine."""
        said = "\0".join((self.group, self.topic, self.stage, self.error, self.kind))
        return sha256(said.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One dead letter, without its bytes: a group may have very many.

    Args:
        id: 16 hexadecimal digits, the same however often a crash repeated the letter.
        group: which gave the record up.
        place: where the record stood. offset: there. appended: when, by the broker.
        failure: why it was given up.
        redrive: how often the record had been redriven before.
        key: of the record. case: its case id, or None.
        size: bytes of key, value and headers that stand in the letter.
        left_out: the record's size when its bytes did not fit into the letter; they stand on their topic only.
        span: first and last offset of bytes that no client could parse, else None.
        stands: partition and offset of the letter itself.
    """

    id: str
    group: str
    place: Partition
    offset: int
    appended: datetime
    failure: Failure
    redrive: int
    key: bytes | None
    case: str | None
    size: int
    left_out: int | None
    span: tuple[int, int] | None
    stands: tuple[Partition, int]

    @property
    def cause(self) -> Cause:
        """What it has in common with others."""
        told = self.failure
        return Cause(self.group, self.place.topic, told.stage, told.error, told.kind)


def split(headers: Headers) -> tuple[Headers, dict[str, str]]:
    """The original's headers and what ours say, without their prefix.

    Raises:
        NotALetter: ours are not there, or are no text.
    """
    starts = [i for i, (name, _) in enumerate(headers) if name == _MARK]
    if not starts:
        raise NotALetter("it has no header dead_group")
    start = starts[-1] - (headers[starts[-1] - 1][0] == _ID)
    told = {}
    for name, value in headers[start:]:
        if not name.startswith(PREFIX) or value is None:
            raise NotALetter("a header that is not ours stands behind ours")
        try:
            told[name.removeprefix(PREFIX)] = value.decode()
        except UnicodeDecodeError:
            raise NotALetter(f"header {name} is no text") from None
    return headers[:start], told


def letter_of(record: Record, *, group: str) -> Letter:
    """The letter in a record of ``<group>.dead``.

    Args:
        record: as it was read.
        group: whose dead-letter topic it is.

    Raises:
        NotALetter: it is none that this program can read.
    """
    headers, told = split(record.headers)
    try:
        place = Partition(told["topic"], int(told["partition"]))
        offset, redrive = int(told["offset"]), int(told.get("redrive", "0"))
        named = Record(place.topic, place.number, offset, 0, None, None, ())
        failure = Failure(
            stage=told["stage"],
            kind=Kind(told["kind"]),
            error=told["error"],
            attempt=int(told["attempt"]),
            first=parse_time(told["first"]),
            last=parse_time(told["last"]),
        )
        return Letter(
            id=letter_id(named, group=group, redrive=redrive),
            group=group,
            place=place,
            offset=offset,
            appended=parse_time(told["appended"]),
            failure=failure,
            redrive=redrive,
            key=record.key,
            case=_case(headers, record.key),
            size=_size(record.key, record.value, headers),
            left_out=int(told["left_out"]) if "left_out" in told else None,
            span=(int(told["first_offset"]), int(told["last_offset"])) if "scope" in told else None,
            stands=(Partition(record.topic, record.partition), record.offset),
        )
    except KeyError as missing:
        raise NotALetter(f"it has no header {PREFIX}{missing.args[0]}") from None
    except (ValueError, OverflowError):
        raise NotALetter("one of its headers holds no such value") from None


def original(letter: Letter, record: Record) -> Record:
    """The record as it stood on its topic, from the bytes in its letter.

    Args:
        letter: read from `record`.
        record: of the dead-letter topic.
    """
    headers, _ = split(record.headers)
    return Record(
        letter.place.topic,
        letter.place.number,
        letter.offset,
        to_ms(letter.appended),
        record.key,
        record.value,
        headers,
    )


_REMEDIES: Mapping[str, str] = {
    "batch": "No client can parse these bytes. Ask the publisher to send the events again, then `dlq drop`.",
    "envelope": "The headers are no event of this topic's owner. Ask the publisher to send it again with right headers,"
    " then `dlq drop`.",
    "type": "This program knows no such event type. Deploy its contract, then `dlq redrive`.",
    "decode": "The bytes are not this contract's; `dlq show` names the field. When it says unknown schema id:"
    " `topics apply`, then `dlq redrive`. Else ask the publisher to send it again, then `dlq drop`.",
    "emit": "What should follow cannot be built from this event. Correct the process definition, deploy it, then"
    " `dlq redrive`.",
    "step": "A step of the process raised. Correct and deploy it, then `dlq redrive`.",
    "timer": "What a timer of the case should do was refused. Correct the process definition, deploy it, then"
    " `dlq redrive`.",
    "read": "The stored case cannot be read. Restore or rebuild the case log, then `dlq redrive`.",
    "size": "The case has grown beyond what its topic takes. Have a person close it by other means, then `dlq drop`; or"
    " raise max.message.bytes of the case log and `dlq redrive`.",
}
_GIVEN_UP = "An operator gave it up while it was parked. `dlq redrive` brings it back; when it is settled: `dlq drop`."
_NOT_LISTENED = "The workflow does not listen to this topic. When it should: deploy its definition, then `dlq redrive`."
_CASE_REMEDIES: Mapping[str, str] = {
    "late": "Its case was closed when it came; a redrive would find it closed again. Have a person look, then"
    " `dlq drop`.",
    "unopened": "No case was open for it. Once the opening event is there: `dlq redrive`. Otherwise `dlq drop`.",
}
_KIND_REMEDIES: Mapping[Kind, str] = {
    Kind.BUG: "The handler raised. Correct and deploy it, then `dlq redrive`.",
    Kind.REFUSED: "A rule of the handler said no. Have its owner look; `dlq redrive` once the rule or the data has"
    " changed, else `dlq drop`.",
    Kind.INVALID: "The handler found the event wrong. Ask the publisher to send it again, then `dlq drop`.",
    Kind.UNREACHABLE: "Something the handler needs was down for long. When it is back: `dlq redrive`.",
}


def remedy(cause: Cause) -> str:
    """What an operator does about letters of this cause, in a sentence or two."""
    if cause.error == "Dropped":
        return _GIVEN_UP
    if cause.error == "NotListened":
        return _NOT_LISTENED
    if cause.stage == "case":
        unexpected = (
            "The case was at no step that takes it. Look with `case trace`; `dlq redrive` when it has got there."
        )
        return _CASE_REMEDIES.get(cause.error, unexpected)
    return _REMEDIES.get(cause.stage) or _KIND_REMEDIES[cause.kind]


def as_json(letter: Letter) -> dict[str, object]:
    """The letter for machines; of the payload only its size."""
    told = letter.failure
    return {
        "id": letter.id,
        "group": letter.group,
        "topic": letter.place.topic,
        "partition": letter.place.number,
        "offset": letter.offset,
        "appended": format_time(letter.appended),
        "case": letter.case,
        "cause": letter.cause.id,
        "stage": told.stage,
        "error": told.error,
        "kind": told.kind.value,
        "attempt": told.attempt,
        "first": format_time(told.first),
        "last": format_time(told.last),
        "redrive": letter.redrive,
        "size": letter.size,
        "left_out": letter.left_out,
        "span": None if letter.span is None else list(letter.span),
    }


def _case(headers: Headers, key: bytes | None) -> str | None:
    """The case id: of the header, else of the key; None when neither is text."""
    raw = next((value for name, value in headers if name == "ce_correlationid"), None) or key
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    held = sum(len(name.encode("utf-8", "surrogatepass")) + len(value or b"") for name, value in headers)
    return len(key or b"") + len(value or b"") + held
