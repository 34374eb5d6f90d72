"""One member of a group at work: polls, gives each partition its turn, commits what is dealt with.

Called by `bus.consume`, one delivery at a time, and by `connectors.office`, many. Each partition is worked by itself:
while one backs off, the others move. The traps it avoids: acknowledging what is not dealt with, going on past a record
whose copy could not be stored, records in hand that belong to another member since the last rebalance (and a commit of
them, which would overwrite that member's), and a member that is put out of its group because it is busy.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from bus.errors import Fenced, OutcomeUnknown, Unreachable
from bus.hold import Hold
from bus.message import Partition, Record
from bus.parked_store import ParkedStore
from bus.pipeline import Again, Attempt, Pipeline
from bus.ports import Consumer

_log = logging.getLogger(__name__)
POLL_S = 0.5
_COMMIT_S = 1.0
_REFRESH_S = 1.0  # commands and redriven letters are taken up so soon
_PATIENCE_S = 30.0  # between polls, far below the poll interval of 300 s, after which a member is put out of its group
_RECORDS = 500


@dataclass(slots=True)
class Hand:
    """The records of one partition that are polled and not dealt with, and the try that is under way."""

    partition: Partition
    records: deque[Record] = field(default_factory=deque)
    attempt: Attempt | None = None
    owed: Callable[[], None] | None = None  # must be stored before anything else of the partition
    resume_at: float = 0.0  # monotonic seconds; until then the partition backs off
    failures: int = 0  # stores in a row that could not be reached
    failing_since: float = 0.0  # monotonic seconds of the first of them
    overdue: bool = False
    tries: int = 0  # since the last poll

    @property
    def waits(self) -> bool:
        """Whether something of it is under way."""
        return bool(self.records) or self.attempt is not None or self.owed is not None

    def __str__(self) -> str:
        return f"{self.partition.topic}[{self.partition.number}]"


class Member:
    """A member of a group. One thread.

    Args:
        consumer: owned from here on.
        pipeline: what happens to a record.
        store: what is parked; owned from here on.
        group: the consumer group.
        before_commit: makes what handled records have caused durable; runs before each commit.
        monotonic: seconds, for pauses and intervals.
    """

    def __init__(
        self,
        consumer: Consumer,
        pipeline: Pipeline,
        store: ParkedStore,
        *,
        group: str,
        before_commit: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._consumer = consumer
        self._pipeline = pipeline
        self._store = store
        self._hold = Hold(pipeline, store, group=group, fence=self._fence, commit=self._commit_done)
        self._before_commit = before_commit
        self._monotonic = monotonic
        self._hands: dict[Partition, Hand] = {}
        self._generation = -1
        self._known = False  # whether what is parked on our partitions has been read
        self._done: dict[Partition, int] = {}  # what the next commit says
        self._reached: dict[Partition, int] = {}  # the first offset that is not dealt with
        self._busy = False  # somebody's turn ended before its work did
        now = monotonic()
        self._committed_at = self._refreshed_at = self._polled_at = now

    @property
    def ready(self) -> bool:
        """Whether it owns partitions, knows what is parked on them, and no outage lasts longer than its budget."""
        return self._known and bool(self._hands) and not any(hand.overdue for hand in self._hands.values())

    def hands(self) -> Iterator[Hand]:
        """The partitions that are this member's, each for one turn."""
        for hand in list(self._hands.values()):
            hand.tries = 0
            yield hand

    def poll(self, *, max_records: int = _RECORDS) -> bool:
        """Fetch what there is room for; learn what is owned and what is parked.

        Args:
            max_records: how many records at most.

        Returns:
            Whether the partitions were dealt out anew.

        Raises:
            Unreachable: the cluster does not answer. Refused: a topic is not there.
        """
        self._consumer.pause(frozenset(p for p, hand in self._hands.items() if hand.records))
        records = self._consumer.poll(max_records=max_records, timeout=self._wait_s())
        self._polled_at, self._busy = self._monotonic(), False
        owned = self._consumer.assignment()
        anew = self._consumer.generation() != self._generation or owned != self._hands.keys()
        if anew:
            self._start_over(owned)
        for record in records:
            place = Partition(record.topic, record.partition)
            if place in self._hands:
                self._hands[place].records.append(record)
                self._reached.setdefault(place, record.offset)
        self._learn(owned)
        return anew

    def _wait_s(self) -> float:
        """Seconds the poll may wait for records: none while there is other work."""
        now = self._monotonic()
        waiting = [max(0.0, hand.resume_at - now) for hand in self._hands.values() if self._known and hand.waits]
        return 0.0 if self._busy else min([POLL_S, *waiting])

    def _start_over(self, owned: frozenset[Partition]) -> None:
        """What was in hand comes again, to whomever it belongs, from the committed offset."""
        self._generation = self._consumer.generation()
        self._hands = {partition: Hand(partition) for partition in sorted(owned)}
        self._done, self._reached = {}, {}
        self._known = False

    def _learn(self, owned: frozenset[Partition]) -> None:
        """Read what is parked; until it is known, nothing is handled."""
        if self._known and self._polled_at - self._refreshed_at < _REFRESH_S:
            return
        try:
            if self._known:
                self._store.refresh()
            else:
                self._store.own(owned)
                self._known = True
        except (Unreachable, OutcomeUnknown) as error:
            _log.warning("%s What is parked on %s cannot be read now; it is tried again.", error, self._store.topic)
        self._refreshed_at = self._monotonic()

    def next(self, hand: Hand) -> Attempt | None:
        """The next try of a partition; None when it has none now. Say `handled` or `failed` before the one after it."""
        if hand.tries >= _RECORDS or self._monotonic() - self._polled_at > _PATIENCE_S:  # others, and the group, wait
            self._busy = True
            return None
        if not self._is_free(hand):
            return None
        hand.tries += 1
        if hand.owed is not None:
            return self.next(hand) if self._reaching(hand, partial(self._pay, hand)) else None
        if hand.attempt is None:
            self._reaching(hand, partial(self._fill, hand))
        return hand.attempt

    def _is_free(self, hand: Hand) -> bool:
        return self._known and self._hands.get(hand.partition) is hand and self._monotonic() >= hand.resume_at

    def _fill(self, hand: Hand) -> None:
        hand.attempt = self._hold.parked(hand.partition)
        if hand.attempt is None:
            count, hand.attempt = self._hold.take(hand.partition, hand.records)
            self._count(hand, count)

    def handled(self, hand: Hand) -> None:
        """The handler is through with the partition's attempt: it counts, for the next commit."""
        attempt, hand.attempt = hand.attempt, None
        if attempt is None or self._hands.get(hand.partition) is not hand:
            return
        hand.overdue = False
        if attempt.entry is None:
            self._count(hand, 1)
        else:
            hand.owed = partial(self._settle, attempt)
            self._reaching(hand, partial(self._pay, hand))

    def failed(self, hand: Hand, error: Exception, *, where: str) -> None:
        """The handler raised: the partition waits for the next try, or the record is set aside.

        Args:
            hand: whose attempt it was.
            error: what was raised.
            where: the line of code that raised.
        """
        attempt = hand.attempt
        if attempt is None or self._hands.get(hand.partition) is not hand:
            return
        verdict = self._pipeline.judge(attempt, error)
        if isinstance(verdict, Again):
            self._back_off(hand, verdict)
            return
        hand.attempt, hand.overdue = None, False
        hand.owed = partial(self._hold.set_aside, attempt, verdict, where=where)
        if attempt.entry is None:
            hand.owed = partial(_both, hand.owed, partial(self._count, hand, 1))
        self._reaching(hand, partial(self._pay, hand))

    def _settle(self, attempt: Attempt) -> None:
        self._before_commit()
        self._hold.settle(attempt)

    def _pay(self, hand: Hand) -> None:
        if hand.owed is not None:
            hand.owed()
            hand.owed = None

    def _back_off(self, hand: Hand, again: Again) -> None:
        hand.resume_at = self._monotonic() + again.pause_s
        if again.overdue and not hand.overdue:
            _log.error("%s waits longer than its budget for something unreachable; nothing is lost of it", hand)
        hand.overdue = again.overdue

    def _reaching(self, hand: Hand, work: Callable[[], None]) -> bool:
        """Do work that stores something; while the store cannot be reached, the partition waits. True when done."""
        try:
            work()
        except (Unreachable, OutcomeUnknown) as error:
            policy, now = self._pipeline.policy, self._monotonic()
            hand.failing_since = hand.failing_since if hand.failures else now
            hand.failures += 1
            pause = policy.retry.pause_s(hand.failures, self._pipeline.chance())
            self._back_off(hand, Again(pause, now - hand.failing_since >= policy.budget_s))
            _log.warning("%s %s waits, and nothing of it is acknowledged.", error, hand)
        except Fenced as error:
            self._lose(error)
        else:
            hand.failures, hand.overdue = 0, False
            return True
        return False

    def _count(self, hand: Hand, count: int) -> None:
        """The first `count` records are dealt with: the next commit covers them."""
        for _ in range(count):
            record = hand.records.popleft()
            self._done[hand.partition] = self._reached[hand.partition] = record.offset + 1

    def _fence(self, partition: Partition) -> None:
        """Commit, so that a member that has lost its partition hears of it before it parks anything."""
        if partition not in self._reached:  # nothing of it has been read yet: only what was parked before
            self._reached[partition] = self._consumer.position(partition)
        self._done.setdefault(partition, self._reached[partition])
        self._commit_done()

    def commit_if_due(self) -> None:
        """Commit about once a second."""
        if self._monotonic() - self._committed_at >= _COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Commit what is dealt with; when another member owns it now, it will read it again.

        Raises:
            BusError: what `before_commit` raises; then nothing is committed.
        """
        if self._done:
            self._before_commit()
        try:
            self._commit_done()
        except Fenced as error:
            self._lose(error)
        except (Unreachable, OutcomeUnknown) as error:
            _log.warning("%s The commit is tried again.", error)

    def _commit_done(self) -> None:
        self._committed_at = self._monotonic()
        if self._done:
            self._before_commit()
            self._consumer.commit(self._done)
            self._done = {}

    def _lose(self, error: Fenced) -> None:
        """The partitions have moved: nothing in hand counts any more."""
        _log.warning("%s What was handled since the last commit is delivered again there.", error)
        self._consumer.seek(self._reached)  # should a partition be ours all the same
        self._generation = -1
        self._hands, self._done, self._reached = {}, {}, {}

    def leave(self) -> None:
        """Leave the group; commits nothing."""
        try:
            self._store.close()
        finally:
            self._consumer.close()


def _both(one: Callable[[], None], other: Callable[[], None]) -> None:
    one()
    other()
