"""Reading typed events in a group: each delivery is a context manager that acknowledges when it is left.

Called by the SDK (`Bus.subscribe`) and agencies' handlers. ``with delivery as event: ...`` acknowledges on leaving;
an exception inside does not leave the block, it is classified: retry in place, park the key, dead letter. What follows
is stored when the next delivery is asked for; a loop that is left right after a failure has the record again at its
next start. `bus.member` does the work. The trap it avoids: acknowledging what was not handled.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Generator, Iterator
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from bus.deadline import Deadline
from bus.errors import UsageError
from bus.member import Hand, Member
from bus.message import Headers, Message, Record, Unreadable, UnreadableRecord
from bus.parked_store import ParkedStore
from bus.pipeline import Attempt, Pipeline
from bus.ports import Consumer
from schemas import names
from schemas.catalogue import Catalogue
from schemas.envelope import from_headers
from schemas.errors import Poison
from schemas.event import Event

E = TypeVar("E", bound=Event)


class Decoder(Protocol):
    """The part of `schemas.codec.Codec` a reader needs."""

    def decode(self, value: bytes, model: type[E], headers: Headers = ()) -> E:
        """The event in `value`.

        Args:
            value: the record's.
            model: the contract of its topic.
            headers: the record's.

        Raises:
            Poison: the bytes are no such event.
        """
        ...


def open_record(record: Record, *, catalogue: Catalogue, codec: Decoder) -> Message:
    """Read envelope, type and event of a record.

    Args:
        record: as it was read.
        catalogue: the contracts of the topics.
        codec: decodes the value.

    Raises:
        EnvelopeRefused: the headers are no event of this topic's owner.
        NameRefused: the case id is none; answers to the event could not be published.
        UnknownType: the topic is in no catalogue.
        Poison: the value does not decode. UnreadableRecord: not even the client could parse the record.
    """
    if isinstance(record.value, Unreadable):
        raise UnreadableRecord(record.value)
    envelope = from_headers(record.headers)
    known = catalogue.topic(record.topic)
    known.accept(envelope)
    if envelope.correlationid is not None:
        names.case_id(envelope.correlationid)
    if record.value is None:
        raise Poison("the record has no value")
    return Message(codec.decode(record.value, known.model, record.headers), envelope, record)


def where(error: BaseException) -> str:
    """File and line that raised, without the error's text, which may quote a citizen's data."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


class Delivery(Generic[E]):
    """One event on its way to a handler; enter it to get the event, leave it to acknowledge.

    Args:
        attempt: the opened message and its try.
        pipeline: remembers what is handled.
        deadline: told when the handler starts and ends.
    """

    def __init__(self, attempt: Attempt, pipeline: Pipeline, deadline: Deadline) -> None:
        self._attempt = attempt
        self._pipeline = pipeline
        self._deadline = deadline
        self.error: Exception | None = None
        self.settled = False

    @property
    def message(self) -> Message:
        """The event with its envelope and place."""
        return self._attempt.message

    def __enter__(self) -> E:
        record = self._attempt.message.record
        self._deadline.begin(f"{record.topic}[{record.partition}] offset {record.offset}")
        return self._attempt.message.event  # type: ignore[return-value]  # the subscription's model is E

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Acknowledge, or keep the error for the subscription; a stop (Ctrl-C, exit) goes through and does neither."""
        self._deadline.end()
        if error is not None and not isinstance(error, Exception):
            return False
        if error is None:
            self._pipeline.succeed(self._attempt)
        self.error = error
        self.settled = True
        return True


class Subscription(Generic[E]):
    """An endless iterator of deliveries; leaving the loop commits what was acknowledged and leaves the group.

    Each partition is worked by itself: while one waits for an outage to end, the others go on.

    Args:
        consumer: the group member; owned from here on.
        pipeline: what happens to a record.
        store: what is parked; owned from here on.
        group: the consumer group.
        deadline_s: how long a handler may take before there is an alarm; None: for ever.
        monotonic: seconds, for pauses and intervals.
    """

    def __init__(
        self,
        consumer: Consumer,
        pipeline: Pipeline,
        store: ParkedStore,
        *,
        group: str,
        deadline_s: float | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._member = Member(consumer, pipeline, store, group=group, monotonic=monotonic)
        self._pipeline = pipeline
        self._deadline = Deadline(deadline_s, monotonic=monotonic)
        self._open = True
        self._in_hand: tuple[Hand, Delivery[E]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> bool:
        """Whether it owns partitions and works: no outage and no handler lasts too long."""
        return self._member.ready and not self._deadline.late

    def __iter__(self) -> Iterator[Delivery[E]]:
        """Deliveries, in order per key, until `close`. Raises what the consumer raises."""
        try:
            with self._deadline:
                while self._open:
                    self._member.poll()
                    for hand in self._member.hands():
                        yield from self._turn(hand)
                    self._member.commit_if_due()
        finally:
            self.close()

    def _turn(self, hand: Hand) -> Generator[Delivery[E], None, None]:
        """Deliveries of one partition until it has none, backs off, or others must have their turn."""
        while self._open and (attempt := self._member.next(hand)) is not None:
            delivery: Delivery[E] = Delivery(attempt, self._pipeline, self._deadline)
            self._in_hand = hand, delivery
            yield delivery
            if self._in_hand is None:
                return  # closed meanwhile
            self._in_hand = None
            if not delivery.settled:
                raise UsageError(
                    "A delivery was passed over without being handled.",
                    remedy="Write `with delivery as event:` for every delivery.",
                )
            if delivery.error is None:
                self._member.handled(hand)
            else:
                self._member.failed(hand, delivery.error, where=where(delivery.error))
            self._member.commit_if_due()

    def commit(self) -> None:
        """Commit what is acknowledged so far; when another member owns it now, it will read it again."""
        self._member.commit()

    def close(self) -> None:
        """Commit what is acknowledged and leave the group. Safe to call twice."""
        if not self._open:
            return
        self._open = False
        in_hand, self._in_hand = self._in_hand, None
        try:
            if in_hand is not None and in_hand[1].settled and in_hand[1].error is None:
                self._member.handled(in_hand[0])  # the loop was left right after acknowledging
            self._member.commit()
        finally:
            self._member.leave()
