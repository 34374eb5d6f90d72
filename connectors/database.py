"""An agency's own database: how it is opened, what a transaction is, and which of its errors pass by themselves.

Called by the outbox, the inbox, the relay and the example agency; an agency's program may take `open_database` or an
engine of its own. PostgreSQL and SQLite are tried here, others are refused. The traps it avoids: a password in an error
message or citizens' data in a logged statement; SQLite's late locks, where two readers that both want to write fail in
the middle; and a lost connection told as a bug, which would make a dead letter of a good event.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError

from bus.errors import Unreachable, UsageError

READING = {"agencybus_reading": True}
"""Execution options of a connection that only reads: on SQLite it then takes no lock from writers."""
_DRIVERS = {"postgresql": "postgresql+pg8000", "sqlite": "sqlite+pysqlite"}
_SOCKET_S = 60.0  # a database that went away without a word is noticed after this; above any wait for a lock of ours
_BUSY_MS = 30_000  # how long a writer of SQLite waits for another
_PASSING = ("08", "28", "3D", "40", "53", "57P")
# SQLSTATE classes: connection, password (being changed), database (being moved), conflict, resources, shut down
_PASSING_CODES = ("55P03", "25006")  # lock not to be had; a replica that is not (yet) the primary
_PASSING_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_PROTOCOL")


def open_database(url: str) -> Engine:
    """An engine for `url`; nothing connects yet.

    Args:
        url: ``postgresql://user:password@host/database`` or ``sqlite:///file.db``.

    Raises:
        UsageError: it is no such address. The address is not repeated: it may hold a password.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError(
            "This is no address of a database.",
            remedy="Write postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE.",
        ) from None
    kind = parsed.get_backend_name()
    driver = _DRIVERS.get(kind)
    if driver is None or ("+" in parsed.drivername and parsed.drivername != driver):
        raise UsageError(
            f"A database of kind {parsed.drivername} is not supported.",
            remedy="Use postgresql://... or sqlite:///FILE.",
        )
    parsed = parsed.set(drivername=driver)
    return _open_sqlite(parsed) if kind == "sqlite" else _open_postgresql(parsed)


def _open_postgresql(url: URL) -> Engine:
    try:
        engine = create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args={"timeout": _SOCKET_S})
    except ModuleNotFoundError:
        raise UsageError("The driver of PostgreSQL is an extra.", remedy="Install agencybus[sql].") from None
    from connectors.postgres_connection import PostgresConnection  # the driver is an extra

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: object, _record: object, words: Sequence[Any], settings: Mapping[str, Any]) -> Any:
        return PostgresConnection(*words, **settings)

    return engine


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise UsageError("A database in memory ends with its connection.", remedy="Name a file: sqlite:///FILE.")
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_MS / 1_000})

    @event.listens_for(engine, "connect")
    def _settings(raw: Any, _record: object) -> None:
        raw.isolation_level = None  # transactions begin where we say, not where the driver thinks
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")  # what is committed survives the power
        raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("agencybus_reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def name_of(engine: Engine) -> str:
    """The database's address without its password, for people."""
    return engine.url.render_as_string(hide_password=True)


def passes(error: DBAPIError) -> bool:
    """Whether an error of the database is one that goes away: no connection, a conflict, no room, a restart."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    if isinstance(error.orig, sqlite3.Error):
        return getattr(error.orig, "sqlite_errorname", "").startswith(_PASSING_SQLITE)
    code = _sqlstate(error)
    return code.startswith(_PASSING) or code in _PASSING_CODES


def _sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's five characters; pg8000 hands over the server's fields as a dictionary, the code under C."""
    said = error.orig.args[0] if error.orig is not None and error.orig.args else None
    return str(said.get("C", "")) if isinstance(said, Mapping) else ""


def told(error: DBAPIError, engine: Engine) -> Exception:
    """`error`, or the `Unreachable` that stands for it when it passes by itself.

    Args:
        error: of the database.
        engine: the database.
    """
    if not passes(error):
        return error
    word = _sqlstate(error) or getattr(error.orig, "sqlite_errorname", "") or type(error.orig).__name__
    return Unreachable(
        f"{name_of(engine)} did not carry out a transaction ({word}).",
        remedy="See whether it runs, has room, and lets this user in.",
    )


@contextmanager
def reaching(engine: Engine) -> Iterator[None]:
    """Tell errors that pass by themselves as `Unreachable`.

    Args:
        engine: the database that is asked inside.

    Raises:
        Unreachable: the database does not answer or let us in, or a conflict was solved at our cost; trying again may
            work.
        DBAPIError: everything else, as it was.
    """
    try:
        yield
    except DBAPIError as error:
        meant = told(error, engine)
        if meant is error:
            raise
        raise meant from error


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """One transaction: committed when the block is left, rolled back when it raises.

    Args:
        engine: the database.

    Raises:
        Unreachable, DBAPIError: as `reaching`. After Unreachable from the commit itself the transaction may
            stand or not: what runs inside must bear being run again (`connectors.inbox`).
    """
    with reaching(engine), engine.begin() as connection:
        yield connection


def insert_new(connection: Connection, table: Table, values: Mapping[str, Any], *, unique: Sequence[str]) -> bool:
    """Insert a row unless one with the same `unique` columns is there; True when it was inserted.

    A transaction that has inserted such a row and not ended yet is waited for.

    Args:
        connection: inside a transaction.
        table: where to.
        values: column values.
        unique: the columns of a unique constraint or primary key.
    """
    dialect = sqlite if connection.dialect.name == "sqlite" else postgresql
    statement = dialect.insert(table).values(values).on_conflict_do_nothing(index_elements=list(unique))
    return connection.execute(statement).rowcount == 1
