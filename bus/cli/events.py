"""`agencybus publish`, `consume` and `reset`: typed events from and to JSON lines.

Registered by `bus.cli.main`. The traps it avoids: a commit for lines that never reached stdout, a Ctrl-C that loses
the results of what was already sent, and a whole input held in memory.
"""

from __future__ import annotations

import queue
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from bus.cli.context import note, settings, stop_on_interrupt
from bus.errors import BusError, Fenced, UsageError

if TYPE_CHECKING:  # imported where used, so that --help stays quick
    from bus.message import Message, Partition, Receipt, Record
    from bus.ports import Consumer
    from bus.publish import Publication
    from schemas.catalogue import Catalogue, EventType

_WINDOW = 2_000  # lines in flight at once; bounds memory and is far beyond what one round trip carries
_POLL_S = 0.5
_STOPPED = 130
Opener = Callable[["Record"], "Message"]
PublishAll = Callable[[list["Publication | BusError"]], list["Receipt | BusError"]]

_Type = Annotated[str, typer.Argument(metavar="TYPE", help="A topic, or a contract such as request.created.")]
_As = Annotated[str | None, typer.Option("--as", metavar="AGENCY", help="In whose name; default from the settings.")]
_Group = Annotated[str, typer.Option("--group", metavar="G", help="Consumer group.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to `app`."""
    app.command()(publish)
    app.command()(consume)
    app.command()(reset)


def publish(
    ctx: typer.Context,
    type_: _Type,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines {case, data, id?, time?}; - is stdin.")],
    agency: _As = None,
) -> None:
    """Publish JSON lines as typed events; one result line each, in input order.

    Goes on after a refusal. Exit 1 when any line was not acknowledged. Without an id the id is a hash of the content,
    so publishing a file twice is harmless. Ctrl-C stops reading, prints the results of what was sent, and exits 130.
    """
    from bus.json_lines import parser_of
    from bus.wiring import connect
    from schemas.catalogue import standard

    chosen = settings(ctx, agency=agency)
    catalogue = standard()
    known = _writable(catalogue, type_, chosen.agency)
    with _opened(file) as read, connect(settings=chosen, catalogue=catalogue) as bus, stop_on_interrupt() as stop:
        failed = publish_lines(read, parser_of(known.model), bus.publish_all, out=sys.stdout, stop=stop)
    if stop.is_set():
        raise typer.Exit(_STOPPED)
    raise typer.Exit(1 if failed else 0)


def publish_lines(
    read: Callable[[int], bytes],
    parse: Callable[[int, bytes | None], Publication | BusError],
    publish_all: PublishAll,
    *,
    out: TextIO,
    stop: threading.Event,
) -> int:
    """Publish every line of a byte stream; write one result line each to `out`, in order.

    A thread reads and parses ahead; what has come is sent at once, at most `_WINDOW` lines together.

    Args:
        read: an unbuffered file's `read`.
        parse: see `bus.json_lines.parser_of`.
        publish_all: publishes and waits for all outcomes.
        out: where the result lines go; flushed after each window.
        stop: when set, no further line is sent.

    Returns:
        How many lines were not acknowledged.
    """
    from bus.json_lines import dump, lines_of, result_of
    from bus.message import Receipt

    ahead: queue.Queue[tuple[int, Publication | BusError] | Exception | None] = queue.Queue(_WINDOW)
    failed = 0

    def read_ahead() -> None:
        try:
            for number, raw in lines_of(read):
                ahead.put((number, parse(number, raw)))
            ahead.put(None)
        except Exception as error:  # noqa: BLE001  # handed to the main thread, which raises it
            ahead.put(error)

    threading.Thread(target=read_ahead, name="agencybus-lines", daemon=True).start()
    for window in _windows(ahead, stop):
        outcomes = publish_all([said for _, said in window])
        for (number, _), outcome in zip(window, outcomes, strict=True):
            failed += not isinstance(outcome, Receipt)
            out.write(dump(result_of(number, outcome)))
        out.flush()
    return failed


def _windows(
    ahead: queue.Queue[tuple[int, Publication | BusError] | Exception | None], stop: threading.Event
) -> Iterator[list[tuple[int, Publication | BusError]]]:
    """What has been read so far, again and again until the end or a stop. Raises what the reading raised."""
    ended: Exception | bool = False
    while not ended and not stop.is_set():
        window: list[tuple[int, Publication | BusError]] = []
        while len(window) < _WINDOW and not ended:
            try:
                item = ahead.get(block=not window, timeout=_POLL_S)
            except queue.Empty:
                break
            if isinstance(item, tuple):
                window.append(item)
            else:
                ended = item or True
        if window and not stop.is_set():
            yield window
    if isinstance(ended, Exception):
        raise ended


def consume(
    ctx: typer.Context,
    type_: _Type,
    *,
    group: _Group,
    agency: Annotated[str | None, typer.Option("--as", metavar="AGENCY", help="Only this publisher's topic.")] = None,
    max_: Annotated[int | None, typer.Option("--max", min=1, metavar="N", help="Stop after exactly N events.")] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="WHERE", help="Where a new group starts: earliest, latest or a time."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document per line.")] = False,
) -> None:
    """Print typed events as a member of a group; commits only what was flushed to stdout.

    With --max exactly N events are printed and committed, else it follows until Ctrl-C, which is a clean stop
    (exit 0). A record that cannot be read is named on stderr and passed over; the exit code is then 1. So it is when
    the reader of stdout goes away (`| head -1`): what was not flushed to it by then is not committed.
    """
    from functools import partial

    from bus.consume import open_record
    from bus.core import transport_of
    from bus.positions import begin_group, parse_start
    from bus.transport.schema_topic import SchemaTopic
    from schemas.catalogue import standard
    from schemas.codec import Codec

    catalogue = standard()
    topics = _readable(catalogue, type_, agency)
    transport = transport_of(settings(ctx))
    reader = transport.reader()
    try:
        codec = Codec(catalogue, writers=SchemaTopic(reader).read_all())
        if from_ is not None:
            admin = transport.admin()
            try:
                begin_group(admin, reader, group=group, topics=topics, start=parse_start(from_))
            finally:
                admin.close()
    finally:
        reader.close()
    consumer = transport.consumer(topics, group=group)
    opener = partial(open_record, catalogue=catalogue, codec=codec)
    try:
        with stop_on_interrupt() as stop:
            unread = print_events(consumer, opener, out=sys.stdout, limit=max_, as_json=as_json, stop=stop)
    finally:
        consumer.close()
    if unread:
        note(f"{unread} record(s) could not be read.")
        raise typer.Exit(1)


def print_events(
    consumer: Consumer, opener: Opener, *, out: TextIO, limit: int | None, as_json: bool, stop: threading.Event
) -> int:
    """Write events to `out` and commit after each flush, until `limit` are written or `stop` is set.

    Args:
        consumer: the group member.
        opener: turns a record into a message.
        out: where the lines go.
        limit: how many events; None follows without end.
        as_json: JSON lines, else a line for people.
        stop: ends the loop after what is in hand is flushed and committed.

    Returns:
        How many records could not be read (each was named on stderr).

    Raises:
        BrokenPipeError: the reader of `out` has gone; nothing of the unflushed part is committed. On a quiet topic
            this is noticed at the next poll, not at the next event.
    """
    written = unread = 0
    while not stop.is_set() and (limit is None or written < limit):
        done: dict[Partition, int] = {}
        for record in consumer.poll(max_records=min(500, (limit or sys.maxsize) - written), timeout=_POLL_S):
            text = _event_line(record, opener, as_json=as_json)
            done[_place(record)] = record.offset + 1
            if text is None:
                unread += 1
            else:
                out.write(text)
                written += 1
        if done:
            out.flush()
            try:
                consumer.commit(done)
            except Fenced as error:
                note(f"{error} The last {len(done)} partition position(s) are read again there.")
        elif _reader_has_gone(out):
            raise BrokenPipeError
    return unread


def _reader_has_gone(out: TextIO) -> bool:
    """Whether `out` is a pipe or terminal whose other end is closed; False where the system cannot say."""
    try:
        watch = select.poll()
        watch.register(out.fileno(), 0)  # no event is asked for: errors and hang-ups are always told
    except (OSError, ValueError, AttributeError):  # no file behind it; no poll on Windows
        return False
    return any(told & (select.POLLERR | select.POLLHUP) for _, told in watch.poll(0))


def _place(record: Record) -> Partition:
    from bus.message import Partition

    return Partition(record.topic, record.partition)


def _event_line(record: Record, opener: Opener, *, as_json: bool) -> str | None:
    """The line of one record; None when it cannot be read, which is then told on stderr without its content."""
    from bus import printable
    from bus.json_lines import dump
    from schemas.envelope import format_time, from_ms
    from schemas.errors import SchemaSideError

    try:
        message = opener(record)
    except SchemaSideError as error:
        note(
            f"{record.topic}[{record.partition}] offset {record.offset} cannot be read: {type(error).__name__}: {error}"
        )
        return None
    envelope = message.envelope
    if not as_json:
        data = printable.json_text(message.event.model_dump_json())
        return f"{format_time(envelope.time)}  {envelope.correlationid or '–'}  {envelope.type}  {data}\n"
    return dump(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "appended": format_time(from_ms(record.timestamp)),
            "id": envelope.id,
            "source": envelope.source,
            "time": format_time(envelope.time),
            "case": envelope.correlationid,
            "causation": envelope.causationid,
            "data": message.event.model_dump(mode="json"),
        }
    )


def reset(
    ctx: typer.Context,
    types: Annotated[list[str], typer.Argument(metavar="TYPE...", help="Topics or contracts.")],
    *,
    group: _Group,
    to: Annotated[str, typer.Option("--to", metavar="WHERE", help="earliest, latest or a time with a zone.")],
    agency: Annotated[str | None, typer.Option("--as", metavar="AGENCY", help="Only this publisher's topic.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without it only the change is shown.")] = False,
) -> None:
    """Move a group that has no running members; without --yes it shows the change and exits 3."""
    from bus.cli.context import show, table
    from bus.core import transport_of
    from bus.positions import offsets_at, parse_start
    from schemas.catalogue import standard

    catalogue = standard()
    topics = [topic for name in types for topic in _readable(catalogue, name, agency)]
    transport = transport_of(settings(ctx))
    admin, reader = transport.admin(), transport.reader()
    try:
        wanted = offsets_at(reader, topics, parse_start(to))
        there = admin.committed([group]).get(group, {})
        if yes:
            admin.commit(group, wanted)
    finally:
        admin.close()
        reader.close()
    rows = [(p.topic, p.number, there.get(p), offset) for p, offset in sorted(wanted.items())]
    show(table(f"Group {group}", ("topic", "partition", "committed", "moves to"), rows))
    if not yes:
        note("Nothing is changed yet: add --yes.")
        raise typer.Exit(3)


def _writable(catalogue: Catalogue, name: str, agency: str | None) -> EventType:
    """The type `agency` publishes under `name`. Raises UsageError."""
    from schemas.errors import UnknownType

    if agency is None:
        raise UsageError("Say in whose name to publish.", remedy="Give --as AGENCY, or set AGENCYBUS__AGENCY.")
    try:
        known = catalogue.resolve(name, agency)
    except UnknownType as error:
        raise UsageError(str(error)) from error
    if known.agency != agency:
        raise UsageError(f"{agency} may not publish on {known.topic}: it belongs to {known.agency}.")
    return known


def _readable(catalogue: Catalogue, name: str, agency: str | None) -> list[str]:
    """The topics meant by `name`: one topic, or those of every publisher of a contract. Raises UsageError."""
    from schemas.errors import UnknownType

    mine = [t.topic for t in catalogue.types() if name == t.model.contract and agency in {None, t.agency}]
    if mine:
        return mine
    try:
        return [catalogue.resolve(name, agency).topic]
    except UnknownType as error:
        raise UsageError(str(error)) from error


@contextmanager
def _opened(file: str) -> Iterator[Callable[[int], bytes]]:
    """The unbuffered `read` of a file or of stdin: a thread blocked in a buffered one would hang the exit."""
    try:
        stream: Any = open(0, "rb", buffering=0, closefd=False) if file == "-" else Path(file).open("rb", buffering=0)  # noqa: SIM115  # closed below
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}.", remedy="Give a file of JSON lines, or - for stdin.") from error
    try:
        yield stream.read
    finally:
        if file != "-":
            stream.close()
