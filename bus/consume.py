"""Reading typed events in a group: each delivery is a context manager that acknowledges when it is left.

Called by the SDK (`Bus.subscribe`) and agencies' handlers. ``with delivery as event: ...`` acknowledges on leaving;
an exception inside is classified (retry in place, or dead letter) and does not leave the block. The traps it avoids:
acknowledging what was not handled, going on past a record whose dead letter could not be stored, and overwriting the
commit of the member that took the partition over.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from bus.errors import Fenced, UsageError
from bus.message import Headers, Message, Partition, Record, Unreadable, UnreadableRecord
from bus.pipeline import Again, Attempt, Pipeline
from bus.ports import Consumer
from schemas import names
from schemas.catalogue import Catalogue
from schemas.envelope import from_headers
from schemas.errors import Poison
from schemas.event import Event

_log = logging.getLogger(__name__)
_POLL_S = 0.5
_COMMIT_S = 1.0
_RECORDS = 500
_PATIENCE_S = 60.0  # far below the poll interval of 300 s, after which a member is put out of its group
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


def _where(error: BaseException) -> str:
    """File and line that raised, without the error's text, which may quote a citizen's data."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "an unknown place"


class Delivery(Generic[E]):
    """One event on its way to a handler; enter it to get the event, leave it to acknowledge.

    Args:
        attempt: the opened message and its try.
        pipeline: says what a failure means.
    """

    def __init__(self, attempt: Attempt, pipeline: Pipeline) -> None:
        self._attempt = attempt
        self._pipeline = pipeline
        self.again: Again | None = None
        self.settled = False

    @property
    def message(self) -> Message:
        """The event with its envelope and place."""
        return self._attempt.message

    def __enter__(self) -> E:
        return self._attempt.message.event  # type: ignore[return-value]  # the subscription's model is E

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Acknowledge, or classify the error; a stop (Ctrl-C, exit) goes through and acknowledges nothing."""
        if error is not None and not isinstance(error, Exception):
            return False
        if error is None:
            self._pipeline.succeed(self._attempt)
        else:
            self.again = self._pipeline.fail(self._attempt, error)
            if self.again is None:
                _log.error("the handler raised %s at %s", type(error).__name__, _where(error))
        self.settled = True
        return True


class Subscription(Generic[E]):
    """An endless iterator of deliveries; leaving the loop commits what was acknowledged and leaves the group.

    Args:
        consumer: the group member; owned from here on.
        pipeline: what happens to a record.
        sleep: waits so many seconds (before a retry).
        monotonic: seconds, for the commit interval.
    """

    def __init__(
        self,
        consumer: Consumer,
        pipeline: Pipeline,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._pipeline = pipeline
        self._sleep = sleep
        self._monotonic = monotonic
        self._done: dict[Partition, int] = {}
        self._committed_at = monotonic()
        self._open = True
        self._in_hand: Delivery[E] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Delivery[E]]:
        """Deliveries, in order per partition, until `close`. Raises what the consumer and a dead letter raise."""
        try:
            while self._open:
                records = self._consumer.poll(max_records=_RECORDS, timeout=_POLL_S)
                for i, record in enumerate(records):
                    if not (yield from self._tries(record)):
                        self._go_back(records[i:])
                        break
                    self._in_hand = None
                    self._count(record)
                    if not self._commit_if_due():
                        break  # what is still in hand belongs to another member now
                self._commit_if_due()
        finally:
            self.close()

    def _tries(self, record: Record) -> Generator[Delivery[E], None, bool]:
        """The deliveries of one record: none for a repetition or poison, several while its handler fails.

        Returns False when it has been tried for so long that the group must be polled to stay a member.
        """
        attempt = self._pipeline.begin(record)
        patience = self._monotonic() + _PATIENCE_S
        while attempt is not None:
            delivery: Delivery[E] = Delivery(attempt, self._pipeline)
            self._in_hand = delivery
            yield delivery
            if not delivery.settled:
                self._in_hand = None
                raise UsageError(
                    "A delivery was passed over without being handled.",
                    remedy="Write `with delivery as event:` for every delivery.",
                )
            if delivery.again is None:
                return True
            self._sleep(delivery.again.pause_s)
            if self._monotonic() > patience:
                return False
        return True

    def _count(self, record: Record) -> None:
        """The record is dealt with: the next commit covers it."""
        self._done[Partition(record.topic, record.partition)] = record.offset + 1

    def _go_back(self, records: Sequence[Record]) -> None:
        """Have `records` delivered again by the next poll."""
        first: dict[Partition, int] = {}
        for record in records:
            first.setdefault(Partition(record.topic, record.partition), record.offset)
        self._consumer.seek(first)

    def _commit_if_due(self) -> bool:
        """Commit about once a second. False when the partitions have moved: nothing in hand counts any more."""
        if not self._done or self._monotonic() - self._committed_at < _COMMIT_S:
            return True
        return self.commit()

    def commit(self) -> bool:
        """Commit what is acknowledged so far; False when another member owns it now (it will read it again)."""
        self._committed_at = self._monotonic()
        done, self._done = self._done, {}
        try:
            self._consumer.commit(done)
        except Fenced as error:
            _log.warning("%s What was handled since the last commit is delivered again there.", error)
            return False
        return True

    def close(self) -> None:
        """Commit what is acknowledged and leave the group. Safe to call twice."""
        if self._open:
            self._open = False
            if self._in_hand is not None and self._in_hand.settled and self._in_hand.again is None:
                self._count(self._in_hand.message.record)  # the loop was left right after acknowledging
            try:
                self.commit()
            finally:
                self._consumer.close()
