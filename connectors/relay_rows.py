"""The relay's view of an outbox table: one relay at a time, rows in order, what is published taken away.

Called by `connectors.relay`. Rows are read and deleted, never remembered by a highest number: a number says when a row
was written, not when it was committed, so whoever goes on "after the last number" loses the row of a slower
transaction. The order in which rows of one case are read is that of their commits because the outbox locks the case
(`connectors.outbox`). The lock here saves work only: if two relays run after all (a connection cut, a process paused),
each sends the rows of a case in order and deletes only what is acknowledged, so whatever way the two streams mix, an
event's first copy never stands before the first copy of one before it; readers drop the second ones.
"""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Connection, Engine, Table, and_, delete, exists, func, select, update

from bus.errors import Unreachable
from connectors.database import READING, reaching


class RelayRows:
    """The rows of one outbox, while this relay holds the lock. One thread.

    Args:
        engine: the agency's database.
        table: see `connectors.outbox.outbox_table`.
    """

    def __init__(self, engine: Engine, table: Table) -> None:
        self._engine = engine
        self._table = table
        self._connection: Connection | None = None
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Become the one relay of this outbox; False while another one is. Again is no harm.

        Raises:
            Unreachable: as `database.reaching`; the file that is the lock cannot be opened.
        """
        if self._connection is not None:
            return True
        with reaching(self._engine):
            connection = self._engine.connect()
            try:
                held = self._lock(connection)
            except BaseException:
                connection.close()
                raise
        if held:
            self._connection = connection
        else:
            connection.close()
        return held

    def _lock(self, connection: Connection) -> bool:
        """PostgreSQL: a lock of the session, gone with it. SQLite: a lock on a file beside the database."""
        if self._engine.dialect.name == "postgresql":
            key = int.from_bytes(sha256(f"relay\0{self._table.name}".encode()).digest()[:8], "big", signed=True)
            held = bool(connection.execute(select(func.pg_try_advisory_lock(key))).scalar())
            connection.commit()
            return held
        path = Path(f"{self._engine.url.database}-{self._table.name}-relay")
        try:
            file = path.open("ab")
        except OSError as error:
            raise Unreachable(
                f"{path}, the relay's lock, cannot be opened: {error.strerror}.",
                remedy="Give the relay the right to write into the folder of the database.",
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._file = file
        return True

    def read(self, limit: int, *, now_ms: int) -> Sequence[Any]:
        """The first rows in line, but none that stands behind a refused row of its topic and case that still waits.

        Args:
            limit: how many at most.
            now_ms: milliseconds since 1970.

        Raises:
            Unreachable: as `database.reaching`; the lock is given up.
        """
        row, before = self._table.c, self._table.alias("before").c
        behind = exists().where(
            and_(
                before.retry_at > now_ms,
                before.aggregateid == row.aggregateid,
                before.aggregatetype == row.aggregatetype,
            )
        )
        connection = self._mine()
        with reaching(self._engine):
            reading = connection.execution_options(**READING)
            found = reading.execute(select(self._table).where(~behind).order_by(row.seq).limit(limit)).all()
            reading.rollback()
            return found

    def settle(self, sent: Sequence[int], *, refused: Mapping[int, str], retry_ms: int) -> None:
        """Delete what is acknowledged and mark what was refused, in one transaction.

        Args:
            sent: places of acknowledged rows.
            refused: places of refused rows with the error's name.
            retry_ms: when these are tried again, milliseconds since 1970.

        Raises:
            Unreachable: as `database.reaching`; the lock is given up. The rows are sent again.
        """
        connection = self._mine().execution_options(agencybus_reading=False)
        seq = self._table.c.seq
        with reaching(self._engine):
            if sent:
                connection.execute(delete(self._table).where(seq.in_(sent)))
            for place, name in refused.items():
                connection.execute(
                    update(self._table).where(seq == place).values(retry_at=retry_ms, refusal=name[:255])
                )
            connection.commit()

    def _mine(self) -> Connection:
        assert self._connection is not None, "acquire() comes first"
        return self._connection

    def release(self) -> None:
        """Let another relay take over. Safe to call twice, and after the connection has broken."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()  # a pooled session would keep its lock
            connection.close()
        if self._file is not None:
            self._file.close()
            self._file = None
