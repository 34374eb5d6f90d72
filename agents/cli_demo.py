"""`agencybus demo`: see the whole thing work in two minutes.

Registered by `agents.commands`. The trap it avoids: a demo that touches what somebody keeps; it has a broker folder of
its own, emptied at each start, unless --bootstrap names a cluster.
"""

from __future__ import annotations

import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from bus.cli import context, options
from bus.cli.progress import ProgressLine
from bus.errors import UsageError

if TYPE_CHECKING:  # imported where used, so that `--help` stays quick
    from rich.console import RenderableType
    from rich.live import Live

    from agents.demo import Look
    from bus.settings import Settings

RATE = 40.0


def demo(
    ctx: typer.Context,
    *,
    cases: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many births.")] = 300,
    host: Annotated[str, typer.Option(help="faust or aiokafka.")] = "faust",
    seed: Annotated[int, typer.Option(help="Seed of the synthetic people.")] = 17,
    rate: Annotated[float, typer.Option(min=0, help="Births a second; 0 is as fast as it goes.")] = RATE,
    keep: Annotated[bool, typer.Option("--keep", help="Leave broker, worker and offices running.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON document on stdout.")] = False,
) -> None:
    """Births at clinics become civil records, ID entries and benefits, on a real Kafka; nobody carries a paper."""
    from agents.demo import Demo, DemoPlan, apply_topology

    host = options.known_host(host)  # before a broker is started for nothing
    with _first_signal_interrupts():
        settings, own_broker = _broker(ctx)
        folder = settings.data_dir / "demo" / "logs"
        plan = DemoPlan(cases=cases, host=host, seed=seed, rate=rate, run=secrets.token_hex(3))
        finished = False
        show: Demo | None = None
        viewer = Viewer(live=not as_json)
        try:
            apply_topology(settings.bootstrap)
            show = Demo(plan, settings, folder)
            summary = show.run(viewer, context.note)
            viewer.close()
            finished = True
            if as_json:
                context.print_json(summary)
            else:
                _print(summary)
        finally:
            viewer.close()
            if keep and finished and show is not None:
                show.disconnect()
                _what_to_try(settings, plan.run, show.children.pids(), own_broker=own_broker)
            else:
                if show is not None:
                    context.note("Stopping worker and offices.")
                    show.close()
                if own_broker:
                    _down(settings)


@contextmanager
def _first_signal_interrupts() -> Iterator[None]:
    """Within it SIGTERM and a closed terminal are as Ctrl-C, and only the first counts.

    A second one would cut the stopping short and leave a broker behind. What the caller ignores stays ignored (nohup).
    """

    def first(_signal: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, _heard_already)
        raise KeyboardInterrupt

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {n: signal.getsignal(n) for n in wanted if signal.getsignal(n) is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _heard_already(_signal: int, _frame: object) -> None:
    context.note("Stopping already; a moment.")


def _broker(ctx: typer.Context) -> tuple[Settings, bool]:
    """The settings to use, and whether the broker is the demo's own."""
    from agents.demo import fresh_folder
    from bus.broker import launcher

    found = context.loaded(ctx)
    settings = found.settings
    if context.given_bootstrap(found) is not None:
        return settings, False
    folder = settings.data_dir / "demo"
    if launcher.status(folder / "broker").running:
        raise UsageError(
            "A demo that was started with --keep is still running.",
            remedy=f"Stop it: AGENCYBUS__DATA_DIR={folder} agencybus down, and end its worker and offices.",
        )
    fresh_folder(folder)
    with ProgressLine() as progress:
        cluster = launcher.up(folder / "broker", progress=progress, cache=settings.cache_dir)
    return settings.model_copy(update={"bootstrap": cluster.bootstrap}), True


def _down(settings: Settings) -> None:
    from bus.broker import launcher

    launcher.down(settings.data_dir / "demo" / "broker", progress=context.note)


class Viewer:
    """Shows looks: a live table on a terminal, a line every few seconds elsewhere.

    Args:
        live: whether a table may be drawn at all.
    """

    def __init__(self, *, live: bool) -> None:
        from rich.console import Console

        self._console = Console(stderr=True)
        self._live = live and self._console.is_terminal
        self._display: Live | None = None
        self._last_line = -10.0

    def __call__(self, look: Look) -> None:
        """Redraw the table with `look`, or print its line when the last one is five seconds old or all is done."""
        from rich.live import Live

        if not self._live:
            if look.elapsed_s - self._last_line >= 5 or look.cases.closed == look.expected:
                self._last_line = look.elapsed_s
                context.note(_line(look))
            return
        if self._display is None:
            self._display = Live(console=self._console, auto_refresh=False)
            self._display.start()
        self._display.update(_frame(look), refresh=True)

    def close(self) -> None:
        """Leave the last look standing and give the terminal back."""
        if self._display is not None:
            self._display.stop()


def _line(look: Look) -> str:
    parked = len(look.cases.parked)
    steps = ", ".join(f"{step} {count}" for step, count in sorted(look.cases.by_step.items())) or "none"
    return (
        f"{look.elapsed_s:5.1f} s  closed {look.cases.closed}/{look.expected}  open by step: {steps}  "
        f"{look.per_second:.0f} events/s  lag {look.lag}" + (f"  parked {parked}" if parked else "")
    )


def _frame(look: Look) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    oldest = look.cases.oldest
    waits = "none" if oldest is None else f"{oldest[0]}, {look.oldest_s:.1f} s"
    head = Text(
        f"births {look.expected}   closed {look.cases.closed}   {look.per_second:.0f} events/s   lag {look.lag}   "
        f"oldest waiting: {waits}"
    )
    parked = [("parked: see agencybus parked list", len(look.cases.parked))] if look.cases.parked else []
    rows = [
        *sorted(look.cases.by_step.items()),
        *parked,
        *((f"ended: {o}", n) for o, n in sorted(look.cases.outcomes.items())),
    ]
    return Group(
        head,
        ProgressBar(total=look.expected, completed=look.cases.closed, width=60),
        Text(),
        context.table("Cases", ("waiting at", "cases"), rows),
    )


def _print(summary: dict[str, object]) -> None:
    def mapping(key: str) -> dict[str, object]:
        found = summary[key]
        assert isinstance(found, dict)
        return found

    context.show(f"\n{summary['cases']} births in {summary['seconds']} s, carried by the {summary['host']} host.\n")
    context.show(context.table("Cases by outcome", ("outcome", "cases"), mapping("outcomes").items()))
    context.show(context.table("Events by agency", ("agency", "events"), mapping("events").items()))
    papers = [*mapping("papers").items(), ("all", summary["papers_total"])]
    context.show(context.table("Papers no longer carried", ("paper", "times"), papers))
    steps = [
        (step, times["p50_s"], times["p95_s"]) for step, times in mapping("steps").items() if isinstance(times, dict)
    ]
    context.show(context.table("Waiting per step, seconds", ("step", "p50", "p95"), steps))


def _what_to_try(settings: Settings, run: str, pids: dict[str, int], *, own_broker: bool) -> None:
    where = f"--bootstrap {settings.bootstrap}"
    stop = " ".join(map(str, pids.values()))
    lines = [
        "Still running. Try:",
        f"  agencybus case trace birth-{run}-000001 {where}",
        f"  agencybus lag {where}",
        f"  agencybus consume justice.birth.registered.v1 --group visitor --from earliest --max 3 {where}",
        "Stop it:",
        f"  kill {stop}",
    ]
    if own_broker:
        lines.append(f"  AGENCYBUS__DATA_DIR={settings.data_dir / 'demo'} agencybus down")
    context.note("\n".join(lines))
