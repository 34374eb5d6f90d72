"""The `agencybus` command: global options, the commands of all packages, errors as sentences and exit codes.

The console script calls `run`. Commands come from bus's own files and, so that no import points up, from the entry
points ``agencybus.commands`` of the other packages. The traps it avoids: a traceback where a sentence helps, a start
that imports Kafka clients for `--help`, and another distribution that replaced our `agents` package unseen.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from bus import printable
from bus.errors import BusError
from schemas.errors import SchemaSideError

OWN_COMMANDS = ("broker", "events", "topics", "schema", "lag", "dlq", "parked", "doctor", "config")
ENTRY_POINTS = "agencybus.commands"
PACKAGES = ("schemas", "bus", "agents", "connectors")
_MARKER = "Part of agencybus."  # stands in the docstring of each package
_MAX_SAID = 4_000  # characters of one line of an error: place, message and fix of a finding fit in
_GLOBAL_OPTIONS = ("--bootstrap", "--config")


def run() -> None:
    """Run the command line of this process and exit."""
    _open_missing_streams()
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 usage, 3 check failed, 4 unreachable, 130.

    Whatever a command raises ends here as a sentence on stderr; `--debug` adds where it was raised.
    """
    words = list(arguments)
    debug = "--debug" in words
    try:
        check_packages()
        build()(args=_hoist(words), prog_name="agencybus")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away; point stdout elsewhere or Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  # the outermost border: every failure becomes a sentence
        if debug:
            traceback.print_exc()
        return report(error)
    return 0


def _open_missing_streams() -> None:
    """Put the null device in the place of a closed standard stream, whose number a broker's socket would take."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # open until exit


def report(error: Exception) -> int:
    """Print `error` to stderr as a sentence with its remedy; return the exit code it stands for."""
    code = 1
    remedy = ""
    if isinstance(error, BusError):
        message, remedy, code = error.message, error.remedy, error.exit_code
    elif isinstance(error, SchemaSideError):
        message = str(error)
    elif isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        message = f"unexpected {type(error).__name__}: {error}"
        remedy = "This is a fault of agencybus; run the command again with --debug to see where."
    for text in (f"error: {message}", remedy):
        if text:
            shown = "\n".join(printable.clipped(part, limit=_MAX_SAID) for part in printable.lines(text).split("\n"))
            sys.stderr.write(f"{shown}\n")
    return code


def check_packages(packages: Sequence[str] = PACKAGES) -> None:
    """Refuse to run when another distribution has replaced one of our packages (`agents` is a name others use too).

    Raises:
        BusError: naming the package and the file found in its place. None of that file's code is run.
    """
    for name in packages:
        spec = find_spec(name)
        origin = Path(spec.origin) if spec is not None and spec.origin else None
        if origin is None or _MARKER not in origin.read_text(encoding="utf-8", errors="replace"):
            raise BusError(
                f"The package {name!r} in {origin or 'this environment'} is not the one of agencybus.",
                remedy="Install agencybus in an environment of its own (another distribution ships the same name).",
            )


def build() -> typer.Typer:
    """The application with every command that can be loaded; one that cannot is named on stderr."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Government agencies publish and consume typed events on Apache Kafka; workflows carry the case.",
        epilog="--bootstrap, --config and --debug may stand anywhere on the line.",
    )
    app.callback()(_globals)
    for name in OWN_COMMANDS:
        _register(app, f"bus.cli.{name}", partial(_own, name))
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda found: found.name):
        _register(app, entry.value, entry.load)
    return app


def _own(name: str) -> Any:
    return importlib.import_module(f"bus.cli.{name}").register


def _register(app: typer.Typer, origin: str, load: Callable[[], Any]) -> None:
    try:
        load()(app)
    except Exception as error:  # noqa: BLE001  # a broken extension must not take the other commands away
        sys.stderr.write(f"warning: the commands of {origin} are missing: {type(error).__name__}: {error}\n")


def _version(wanted: bool) -> None:  # noqa: FBT001  # typer's callback signature
    if wanted:
        sys.stdout.write(f"agencybus {metadata.version('agencybus')}\n")
        raise typer.Exit


def _globals(
    ctx: typer.Context,
    bootstrap: Annotated[str | None, typer.Option(help="Kafka's address, host:port[,host:port].")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings file (TOML).")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")] = False,  # noqa: FBT002
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,  # noqa: FBT002
) -> None:
    del debug, version  # `main` looks for --debug itself, so that it also covers start-up
    from bus.cli.context import Globals

    ctx.obj = Globals(bootstrap=bootstrap, config=config)


def _hoist(words: list[str]) -> list[str]:
    """Move the global options to the front, so that they may stand after the command as well."""
    front: list[str] = []
    rest: list[str] = []
    queue = iter(words)
    for word in queue:
        if word == "--":
            rest += [word, *queue]
        elif word == "--debug" or word.startswith(tuple(f"{option}=" for option in _GLOBAL_OPTIONS)):
            front.append(word)
        elif word in _GLOBAL_OPTIONS:
            front += [word, *([value] if (value := next(queue, None)) is not None else [])]
        else:
            rest.append(word)
    return front + rest


if __name__ == "__main__":  # `python -m bus.cli.main`: how the demo and the worker start parts of themselves
    run()
