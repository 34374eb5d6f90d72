"""What every command shares: settings from the global options, JSON on stdout, notes on stderr, times for people.

Called by the command files of all packages. The trap it avoids: progress on stdout would break `--json | jq`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bus import printable

if TYPE_CHECKING:  # imported where used: rich and pydantic would cost `--help` a third of a second
    from rich.table import Table

    from bus.settings import Loaded, Settings


@dataclass(frozen=True, slots=True)
class Globals:
    """The options that stand before or after any command."""

    bootstrap: str | None = None
    config: Path | None = None


def loaded(ctx: typer.Context, **overrides: Any) -> Loaded:
    """The settings with origins; `overrides` are the command's own flags (None: not given). Raises UsageError."""
    from bus.settings import explain

    given: Globals = ctx.find_object(Globals) or Globals()
    return explain({"bootstrap": given.bootstrap, **overrides}, config=given.config)


def settings(ctx: typer.Context, **overrides: Any) -> Settings:
    """The settings; `overrides` are the command's own flags (None: not given). Raises UsageError."""
    return loaded(ctx, **overrides).settings


def given_bootstrap(found: Loaded) -> str | None:
    """The address a person gave (flag, environment or file); None when it is the default or the local broker's own."""
    origin = found.origins["bootstrap"]
    local = origin == "default" or origin.startswith("local broker")
    return None if local else found.settings.bootstrap


def print_json(document: Any) -> None:
    """Write one JSON document, one line, to stdout and flush it."""
    sys.stdout.write(printable.json_text(json.dumps(document, ensure_ascii=False)) + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a line for people to stderr, safe to print whatever file or name it tells of."""
    sys.stderr.write(printable.lines(text) + "\n")
    sys.stderr.flush()


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table; None cells are shown as a dash, numbers are right-aligned.

    Args:
        title: stands above.
        columns: their headings.
        rows: the cells; every row as long as `columns`.
    """
    from rich.table import Table

    cells = [list(row) for row in rows]
    built = Table(title=title, title_justify="left", box=None, pad_edge=False, min_width=len(title))
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float) or row[index] is None for row in cells)
        built.add_column(column, justify="right" if cells and numeric else "left", overflow="fold")
    for row in cells:
        built.add_row(*("–" if cell is None else printable.line(str(cell)) for cell in row))
    return built


def age(seconds: float | None) -> str | None:
    """An age as people say it: 8 s, 5 min, 3.2 h, 2.1 d."""
    if seconds is None:
        return None
    for size, unit in ((86_400, "d"), (3_600, "h")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def show(renderable: object) -> None:
    """Print a rich renderable or text to stdout; plain text when stdout is no terminal."""
    from rich.console import Console

    Console(
        file=sys.stdout, highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200
    ).print(printable.lines(renderable) if isinstance(renderable, str) else renderable)


@contextmanager
def stop_on_interrupt() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a set event; a second one interrupts at once."""
    stop = threading.Event()

    def first(_number: int, _frame: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
