"""`agencybus connector run` with ``--database``: the relay of an outbox, and the social fund on a database of its own.

Called by `connectors.cli_connector`, which imports it only then: SQLAlchemy is an extra. The traps it avoids: a
password in a note or an error, and a fund whose relay has died alone, so that benefits are assigned and nobody hears.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from sqlalchemy import Engine, MetaData, inspect

from bus.cli import context
from bus.errors import Refused
from bus.settings import Settings
from bus.wiring import Bus, connect, connect_async
from connectors.database import name_of, open_database, reaching
from connectors.office import Desk
from connectors.outbox import outbox_table
from connectors.relay import Counts, Relay
from connectors.relay_rows import RelayRows
from connectors.simulators.fund_database import FundDatabase


def relay(settings: Settings, url: str, stop: threading.Event, *, idle_s: float | None) -> None:
    """Publish what the outbox of a database holds, until `stop`.

    Args:
        settings: where the broker is.
        url: of the database.
        stop: set by a signal.
        idle_s: end after so many seconds with nothing to publish; None: never.

    Raises:
        UsageError: `url` is none. Unreachable: broker or database do not answer at the start. Refused: no outbox.
    """
    engine = _reached(url)
    try:
        if not inspect(engine).has_table("outbox"):
            raise Refused(
                f"{name_of(engine)} has no outbox.",
                field="database",
                remedy="The agency's system makes it: see connectors.outbox.outbox_table.",
            )
        context.note(f"relaying the outbox of {name_of(engine)}")
        counts = asyncio.run(_relay(settings, engine, stop.is_set, idle_s=idle_s))
        context.note(_said(counts))
    finally:
        engine.dispose()


def fund(settings: Settings, url: str, stop: threading.Event, *, idle_s: float | None) -> None:
    """Run the social fund on its database, and its relay beside it, until `stop`.

    Args:
        settings: where the broker is.
        url: of the database; its tables are made if they are missing.
        stop: set by a signal.
        idle_s: end after so many seconds without a request, with an empty outbox; None: never.

    Raises:
        UsageError: `url` is none. BusError: what office or relay ended with.
    """
    engine = _reached(url)
    try:
        target = FundDatabase(engine)
        target.create()
        beside = _Beside(settings, engine, stop)
        beside.start()
        try:
            with connect(agency=target.agency, settings=settings) as bus:
                _forget(bus, target)
                context.note(f"serving: social-fund, on {name_of(engine)}")
                counts = Desk(bus, target, stop=stop.is_set).serve(idle_s=idle_s)
        finally:
            relayed = beside.end()
        books = target.totals()
        context.note(f"social-fund: {counts.handled:,} events handled; {_said(relayed)}")
        context.note(f"books: {books.benefits:,} benefits of {books.assigned:,} in all; accounts {books.accounts:,}")
    finally:
        engine.dispose()


def _reached(url: str) -> Engine:
    """An open database; a command that cannot reach it says so at once. Raises UsageError, Unreachable."""
    engine = open_database(url)
    with reaching(engine), engine.connect():
        return engine


def _forget(bus: Bus, target: FundDatabase) -> None:
    admin = bus.core.transport.admin()
    try:
        topic = admin.topics().get(target.listens)
    finally:
        admin.close()
    if topic is not None:
        target.forget(topic, now=bus.core.clock.now())


async def _relay(settings: Settings, engine: Engine, stop: Callable[[], bool], *, idle_s: float | None) -> Counts:
    rows = RelayRows(engine, outbox_table(MetaData()))
    async with connect_async(settings=settings) as bus:
        return await Relay(bus.core.producer, rows, clock=bus.core.clock, stop=stop).serve(idle_s=idle_s)


def _said(counts: Counts) -> str:
    refused = f", {counts.refused:,} times refused" if counts.refused else ""
    return f"{counts.sent:,} events relayed{refused}"


class _Beside:
    """The relay in a thread of its own; when it fails, the office stops.

    Args:
        settings: where the broker is.
        engine: the database.
        stop: of the office.
    """

    def __init__(self, settings: Settings, engine: Engine, stop: threading.Event) -> None:
        self._settings = settings
        self._engine = engine
        self._stop = stop
        self._done = threading.Event()
        self._counts = Counts()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, name="agencybus-relay")

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._counts = asyncio.run(_relay(self._settings, self._engine, self._done.is_set, idle_s=None))
            if not self._stop.is_set():  # the office ended by itself: what it has answered shall be out
                rest = asyncio.run(_relay(self._settings, self._engine, self._stop.is_set, idle_s=0.0))
                self._counts = Counts(self._counts.sent + rest.sent, self._counts.refused + rest.refused)
        except BaseException as error:  # noqa: BLE001  # handed to the main thread, which raises it
            self._error = error
            self._stop.set()

    def end(self) -> Counts:
        """Wait for the relay to end and return what it did, or raise what it ended with."""
        self._done.set()
        while self._thread.is_alive():
            self._thread.join(0.5)  # in turns, so that signals are heard
        if self._error is not None:
            raise self._error
        return self._counts
