"""The state machine alone, against the codec's read of an event: the engine must not be the bottleneck.

Called by `tests.bench.__main__`, run as a program per round. One transition is an event of a birth: opening, registered
(fork, an emitted request), identity, benefit (join, end). The yardstick is the read of the event the codec's own bars
are about; the read of the births' events, which are a quarter of its size, stands beside it. The trap it avoids:
stepping the same state again and again, which measures an event that is refused as applied.

Usage: python -m tests.bench.stepping
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal

from agents import compile as compiler
from agents import worker
from agents.case import Case
from agents.extract import extract
from agents.machine import Arrival, step
from schemas.birth import BenefitAssigned, BirthNotified, BirthRegistered, IdentityEntered, Sex
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.event import Event
from tests.bench.child import result_of
from tests.bench.cluster import Cluster
from tests.bench.codec import times
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.samples import samples
from tests.bench.statistics import ratios, spread
from tests.bench.wide import Wide

NAME = "step"
STEP, READ, READ_OWN = "machine.step, per transition", "codec's read: wide event", "codec's read: births' own"
_DAY = date(2026, 3, 4)
_BIRTH: tuple[tuple[str, Event], ...] = (
    (
        "health",
        BirthNotified(
            child="SYN-C-17",
            mother="SYN-M-17",
            born_at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
            sex=Sex.FEMALE,
            plurality=1,
            birth_order=1,
            stillborn=False,
            weight_g=3200,
            facility="SYN-CLINIC-1",
            mother_citizenship="AZ",
        ),
    ),
    (
        "justice",
        BirthRegistered(
            record_number="SYN-R-17",
            stillbirth=False,
            person="SYN-P-17",
            mother="SYN-M-17",
            father_recorded=False,
            registered_on=_DAY,
        ),
    ),
    ("interior", IdentityEntered(person="SYN-P-17", document_number="SYN-D-17", entered_on=_DAY)),
    (
        "social-fund",
        BenefitAssigned(
            person="SYN-P-17", request_id="SYN-R-17", amount=Decimal("600.00"), currency="AZN", assigned_on=_DAY
        ),
    ),
)


def measure(cluster: Cluster | None, *, rounds: int, events: int, say: Say) -> Report:
    """Microseconds of both, `rounds` fresh processes. No broker is used, `events` does not matter."""
    del cluster, events
    found: dict[str, list[float]] = {STEP: [], READ: [], READ_OWN: []}
    for number in range(rounds):
        for name, us in json.loads(result_of("tests.bench.stepping", [])).items():
            found[name].append(us)
        say(f"step {number + 1}/{rounds}")
    ratio = spread(ratios(found[STEP], found[READ]))
    rows = [Row(STEP, "us", spread(found[STEP]), ratio)]
    rows += [Row(name, "us", spread(found[name])) for name in (READ, READ_OWN)]
    bars = [Bar(f"{STEP} over {READ}", ratio.median, 0.7, at_least=False)]
    return Report(NAME, "a birth, in process; ratio to the codec's read of the wide event", rows, bars)


def main() -> None:
    """Step and read births in turns and print the microseconds of each."""
    found = times(_ways())
    json.dump({name: us / len(_BIRTH) for name, us in found.items()}, sys.stdout)


def _ways() -> dict[str, Callable[[], None]]:
    catalogue = standard()
    codec = Codec(catalogue)
    graph = compiler.compile_file(worker.process_file("birth"), catalogue)
    frames = [(codec.encode(event), type(event)) for _, event in _BIRTH]
    arrivals: list[Arrival] = []
    for place, (agency, event) in enumerate(_BIRTH):
        topic = event.topic(agency)
        values = extract([graph], topic, catalogue)(vars(event))
        at = 1_772_600_767_000_000 + place * 1_000_000
        arrivals.append(Arrival("SYN-17", topic, 0, place, f"{place:016x}", f"e-{place}", at, values))

    def step_all() -> None:
        case: Case | None = None
        for arrival in arrivals:
            case, _ = step(graph, case, arrival)
        assert case is not None
        assert case.outcome == "completed"

    def read_own() -> None:
        for frame, model in frames:
            codec.decode(frame, model)

    wide_codec = Codec(Catalogue([Wide]))
    wide = wide_codec.encode(next(event for event in samples() if isinstance(event, Wide)))

    def read_wide() -> None:
        for _ in _BIRTH:
            wide_codec.decode(wide, Wide)

    return {STEP: step_all, READ: read_wide, READ_OWN: read_own}


if __name__ == "__main__":
    main()
