"""The desk of an office: takes events in batches, publishes what the office answers, then commits.

Called by `cli_connector` for each `Target`; the simulators take their ids from `effect_of`. Order per batch: open and
dedupe (`bus.member`), react, publish with acknowledgement, remember, commit. A crash anywhere repeats the batch; ids
follow from the cause, so a repetition is recognised. A reaction that fails is retried, parked or made a dead letter by
the rules of any subscription. The traps it avoids: a commit before the answer is stored, and one round trip per event
(too slow).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from bus.consume import where
from bus.member import Hand, Member
from bus.message import Message, Partition, Receipt
from bus.middleware.dedupe import MemorySeen, Seen, mark_of
from bus.publish import Publication
from bus.wiring import Bus
from connectors import sending
from connectors.ports import Target
from schemas.errors import EnvelopeRefused

BATCH = 500
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


class _Answered:
    """What has been answered: for good what is published, in this batch also what shall be."""

    def __init__(self, memory: Seen) -> None:
        self._memory = memory
        self.answers: list[Publication] = []
        self._marks: dict[str, Partition] = {}

    def has(self, partition: Partition, mark: str) -> bool:
        return mark in self._marks or self._memory.has(partition, mark)

    def add(self, partition: Partition, mark: str) -> None:
        self._memory.add(partition, mark)

    def take(self, message: Message, answers: Sequence[Publication]) -> None:
        """Note what shall be published because of `message`."""
        partition, mark = mark_of(message)
        self._marks[mark] = partition
        self.answers += answers

    def published(self) -> int:
        """All of it is acknowledged: remember it; returns how many events it answers."""
        marks, self._marks, self.answers = self._marks, {}, []
        for mark, partition in marks.items():
            self._memory.add(partition, mark)
        return len(marks)


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
        self._batch = _Answered(memory or MemorySeen())
        self.group = f"{target.agency}.{target.name}"
        self.counts = Counts()

    def serve(self, *, idle_s: float | None = None) -> Counts:
        """Handle batches until `stop`, or until nothing came for `idle_s` seconds (of those it owned partitions).

        Raises:
            BusError: the broker refused an answer or did not answer; what was not committed is delivered again.
        """
        member = self._bus.member(
            [self._target.listens],
            group=self.group,
            before_commit=self._publish,
            seen=self._batch,
            monotonic=self._monotonic,
        )
        busy_at = self._monotonic()
        try:
            while not self._stop():
                if member.poll(max_records=BATCH):
                    busy_at = self._monotonic()
                    if self._memory is not None:
                        self._memory.refresh()  # whoever owned these before may have acted without committing
                if self._work(member):
                    busy_at = self._monotonic()
                elif idle_s is not None and self._monotonic() - busy_at >= self._patience(member, idle_s):
                    break
        finally:
            member.leave()
        return self.counts

    def _patience(self, member: Member, idle_s: float) -> float:
        return idle_s if any(True for _ in member.hands()) else max(idle_s, JOIN_S)

    def _work(self, member: Member) -> bool:
        """Answer what is in hand; whether there was, or still is, anything to do."""
        busy = False
        for hand in member.hands():
            busy = self._serve(member, hand) or hand.waits or busy
        member.commit()
        return busy

    def _serve(self, member: Member, hand: Hand) -> bool:
        busy = False
        while (attempt := member.next(hand)) is not None:
            busy = True
            try:
                answers = self._target.react(_of_a_case(attempt.message), now=self._bus.core.clock.now())
            except Exception as error:  # noqa: BLE001  # the bus says what a failure means
                member.failed(hand, error, where=where(error))
            else:
                self._batch.take(attempt.message, answers)
                member.handled(hand)
        return busy

    def _publish(self) -> None:
        """Publish what the office answers, then remember that it has."""
        answers = self._batch.answers
        sending.publish_all(self._bus, answers, stored=self._note, sleep=self._sleep, monotonic=self._monotonic)
        self.counts.handled += self._batch.published()

    def _note(self, receipt: Receipt) -> None:
        self.counts.published += 1
        if self._memory is not None:
            self._memory.assigned(receipt.id)


def _of_a_case(message: Message) -> Message:
    """The message, if its answers can be published. Raises EnvelopeRefused: a refused answer would stop the office."""
    if message.case is None:
        raise EnvelopeRefused("ce_correlationid", "is missing: an office answers cases")
    return message
