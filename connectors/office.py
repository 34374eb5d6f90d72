"""The desk of an office: takes events in batches, publishes what the office answers, then commits.

Called by `cli_connector` for each `Target`; the simulators take their ids from `effect_of`. Order per batch: open and
dedupe (the bus's pipeline), react, publish with acknowledgement, remember, commit. A crash anywhere repeats the batch;
ids follow from the cause, so a repetition is recognised. The traps it avoids: a commit before the answer is stored, and
one round trip per event (too slow).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from bus.errors import Fenced
from bus.message import Message, Partition, Receipt, Record
from bus.middleware.dedupe import Seen, mark_of
from bus.pipeline import Attempt
from bus.publish import Publication
from bus.wiring import Bus
from connectors import sending
from connectors.ports import Target
from schemas.errors import EnvelopeRefused

BATCH = 500
POLL_S = 0.5
JOIN_S = 30.0  # a member that died keeps its group from settling until its session ends


class Memory(Seen, Protocol):
    """A `Seen` that outlives the process."""

    def refresh(self) -> None:
        """Learn what others, or an earlier self, have done."""
        ...

    def assigned(self, event_id: str) -> None:
        """Note an acknowledged effect."""
        ...


def effect_of(office: str, mark: str, word: str = "") -> str:
    """The id of what an office publishes because of an event; 32 hex digits of SHA-256.

    Args:
        office: name of the office.
        mark: fingerprint of the causing event.
        word: tells several effects of one event apart.
    """
    return sha256(f"{office}\0{mark}\0{word}".encode()).hexdigest()[:32]


def effect_id(office: str, cause: Message, word: str = "") -> str:
    """As `effect_of`, for a message.

    Args:
        office: name of the office.
        cause: the causing event.
        word: tells several effects of one event apart.
    """
    return effect_of(office, mark_of(cause)[1], word)


@dataclass(slots=True)
class Counts:
    """What an office has done: events handled, events published."""

    handled: int = 0
    published: int = 0


class Desk:
    """Serves one target until told to stop.

    Args:
        bus: connected as the target's agency.
        target: the office. memory: what it has done, where that must outlive the process.
        stop: asked between batches. sleep, monotonic: seconds.
    """

    def __init__(
        self,
        bus: Bus,
        target: Target,
        *,
        stop: Callable[[], bool],
        memory: Memory | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._target = target
        self._stop = stop
        self._memory = memory
        self._sleep = sleep
        self._monotonic = monotonic
        self.group = f"{target.agency}.{target.name}"
        self._pipeline = bus.pipeline([target.listens], group=self.group, seen=memory)
        self.counts = Counts()

    def serve(self, *, idle_s: float | None = None) -> Counts:
        """Handle batches until `stop`, or until nothing came for `idle_s` seconds (of those it owned partitions).

        Raises:
            BusError: the broker refused an answer or did not answer; what was not committed is delivered again.
        """
        consumer = self._bus.core.transport.consumer([self._target.listens], group=self.group)
        owned: frozenset[Partition] = frozenset()
        busy_at = self._monotonic()
        try:
            while not self._stop():
                records = consumer.poll(max_records=BATCH, timeout=POLL_S)
                if consumer.assignment() != owned:
                    owned, busy_at = consumer.assignment(), self._monotonic()
                    if self._memory is not None:
                        self._memory.refresh()  # whoever owned these before may have acted without committing
                if records:
                    self._handle(records)
                    with suppress(Fenced):  # the new owner gets them again and recognises them
                        consumer.commit(_ends(records))
                    busy_at = self._monotonic()
                elif idle_s is not None:
                    patience = idle_s if owned else max(idle_s, JOIN_S)
                    if self._monotonic() - busy_at >= patience:
                        break
        finally:
            consumer.close()
        return self.counts

    def _handle(self, records: Sequence[Record]) -> None:
        attempts: list[Attempt] = []
        answers: list[Publication] = []
        marks: set[str] = set()
        for record in records:
            attempt = self._pipeline.begin(record)
            if attempt is None or (mark := mark_of(attempt.message)[1]) in marks:
                continue
            marks.add(mark)
            answer = self._react(attempt)
            if answer is not None:
                attempts.append(attempt)
                answers += answer
        sending.publish_all(self._bus, answers, stored=self._note, sleep=self._sleep, monotonic=self._monotonic)
        for attempt in attempts:
            self._pipeline.succeed(attempt)
        self.counts.handled += len(attempts)

    def _react(self, attempt: Attempt) -> Sequence[Publication] | None:
        """The target's answer; None when the record became a dead letter."""
        while True:
            try:
                return self._target.react(_of_a_case(attempt.message), now=self._bus.core.clock.now())
            except Exception as error:  # noqa: BLE001  # the pipeline says what a failure means
                again = self._pipeline.fail(attempt, error)
                if again is None:
                    return None
                self._sleep(again.pause_s)

    def _note(self, receipt: Receipt) -> None:
        self.counts.published += 1
        if self._memory is not None:
            self._memory.assigned(receipt.id)


def _of_a_case(message: Message) -> Message:
    """The message, if its answers can be published. Raises EnvelopeRefused: a refused answer would stop the office."""
    if message.case is None:
        raise EnvelopeRefused("ce_correlationid", "is missing: an office answers cases")
    return message


def _ends(records: Sequence[Record]) -> dict[Partition, int]:
    """The next offset to read per partition."""
    ends: dict[Partition, int] = {}
    for record in records:
        ends[Partition(record.topic, record.partition)] = record.offset + 1
    return ends
