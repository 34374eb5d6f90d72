"""Takes records to a handler in order per key, and sets aside what cannot be handled.

Called by `bus.consume` and `connectors.office`; it joins `bus.pipeline` (what follows from a failure) with
`bus.parked_store` (what waits). A record is dealt with only once its copy is stored. The traps it avoids: a later
record of a parked key that overtakes it, a record that is parked twice because its offset was not committed, a member
that has lost its partition and parks all the same (it commits first; a member that is fenced hears it there), and an
entry that is handled before its own offset is committed, so that a crash would bring it back as a new record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from bus.message import Partition, Record
from bus.middleware.dead_letter import Failure, letter_id
from bus.middleware.lanes import Parking
from bus.middleware.parking import QUEUED, Entry, Mode, fits, place_key
from bus.middleware.retry import Kind
from bus.parked_store import ParkedStore
from bus.pipeline import Attempt, Bury, Park, Pipeline

_log = logging.getLogger(__name__)


class Hold:
    """The records of one member on their way.

    Args:
        pipeline: what happens to a record.
        store: what is parked.
        group: the consumer group, for the ids in the log.
        fence: commits what is dealt with on a partition so far, even if that is known already; raises Fenced when
            another member owns it.
        commit: commits what is dealt with and not committed yet; raises Fenced.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        store: ParkedStore,
        *,
        group: str,
        fence: Callable[[Partition], None],
        commit: Callable[[], None],
    ) -> None:
        self.pipeline = pipeline
        self.store = store
        self._group = group
        self._fence = fence
        self._commit = commit

    def take(self, partition: Partition, records: Iterable[Record]) -> tuple[int, Attempt | None]:
        """Walk through records of one partition to the first that a handler must see.

        Args:
            partition: theirs.
            records: in order.

        Returns:
            How many are dealt with (repetitions, dead letters, those that queue behind a parked one), and the attempt
            at the next, None when there is none.

        Raises:
            BusError: a copy could not be stored; none of the records counts as dealt with.
            Fenced: another member owns the partition.
        """
        parking = self.store.of(partition)
        behind: list[Entry] = []
        count = 0
        for record in records:
            attempt = None if place_key(record) in parking else self.pipeline.begin(record)
            if attempt is not None:
                if record.key is None or not parking.held(record.topic, record.key):
                    self._queue(partition, behind)
                    return count, attempt
                behind.append(self._behind(parking, record))
            count += 1
        self._queue(partition, behind)
        return count, None

    def parked(self, partition: Partition) -> Attempt | None:
        """The attempt at a parked entry that may be tried now, if there is one.

        Raises:
            BusError: a tombstone or dead letter could not be stored. Fenced: another member owns the partition.
        """
        parking = self.store.of(partition)
        while (entry := parking.next(self.pipeline.clock.now())) is not None:
            self._commit()
            if parking.dropped(entry):
                failure = replace(entry.failure, error="Dropped", kind=Kind.REFUSED, last=self.pipeline.clock.now())
                self.pipeline.bury(entry.record, failure, redrive=entry.redrive)
            elif (attempt := self.pipeline.begin(entry.record, entry)) is not None:
                return attempt
            self.store.settle(entry)
        self.store.tidy(partition)
        return None

    def settle(self, attempt: Attempt) -> None:
        """The handler is through with it. Raises BusError: a parked entry's tombstone could not be stored."""
        if attempt.entry is not None:
            self.store.settle(attempt.entry)

    def set_aside(self, attempt: Attempt, verdict: Park | Bury, *, where: str) -> None:
        """Store the copy of a record that was given up; only then is it dealt with.

        Args:
            attempt: the last one.
            verdict: what shall become of it.
            where: the line of code that raised.

        Raises:
            BusError: the copy could not be stored. Fenced: another member owns the partition.
        """
        record, before = attempt.message.record, attempt.entry
        redrive = 0 if before is None else before.redrive
        self._fence(Partition(record.topic, record.partition))
        if isinstance(verdict, Park):
            action = None if before is None else before.action
            entry = Entry(
                record=record,
                failure=verdict.failure,
                mode=verdict.mode,
                due=verdict.due,
                redrive=redrive,
                action=action,
            )
            if fits(entry):
                self.store.write([entry])
                self._alarm(entry, where)
                return
        self.pipeline.bury(record, verdict.failure, redrive=redrive, where=where)
        self.settle(attempt)

    def _queue(self, partition: Partition, entries: list[Entry]) -> None:
        if not entries:
            return
        self._fence(partition)
        kept = [entry for entry in entries if fits(entry)]
        for entry in entries:
            if not fits(entry):
                self.pipeline.bury(entry.record, entry.failure)
        if kept:
            self.store.write(kept)

    def _behind(self, parking: Parking, record: Record) -> Entry:
        now = self.pipeline.clock.now()
        head = next(parking.queue(record.topic, record.key)).failure
        failure = Failure(stage=QUEUED, kind=head.kind, error=head.error, attempt=0, first=now, last=now)
        return Entry(record=record, failure=failure)

    def _alarm(self, entry: Entry, where: str) -> None:
        record, failure = entry.record, entry.failure
        what = "its key is parked" if entry.mode is Mode.KEY else "it alone waits"
        _log.error(
            "%s[%d] offset %d (%s): %s on %s: %s in %s (%s) at %s, try %d%s",
            record.topic,
            record.partition,
            record.offset,
            letter_id(record, group=self._group, redrive=entry.redrive),
            what,
            self.store.topic,
            failure.error,
            failure.stage,
            failure.kind,
            where,
            failure.attempt,
            "" if entry.due is None else f", next at {entry.due:%Y-%m-%dT%H:%M:%SZ}",
        )
