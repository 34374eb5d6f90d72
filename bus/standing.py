"""What waits for a person: open dead letters and parked keys per group, as findings.

Called by `agencybus doctor`. The trap it avoids: letters and keys that nobody counts until a citizen asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from bus.ledger import Ledger, State
from bus.letter_desk import LetterDesk
from bus.parked_desk import Held, ParkedDesk
from bus.selfcheck import Verdict
from schemas.envelope import format_time


def look(letters: LetterDesk, parked: ParkedDesk) -> list[Verdict]:
    """A warning for each group that has something standing. Raises Unreachable."""
    groups = parked.groups()
    parked.read(groups)
    return [*_letters(letters.read(letters.groups()).ledger), *_keys(parked.held(groups)[0])]


def _letters(ledger: Ledger) -> list[Verdict]:
    since: dict[str, list[datetime]] = {}
    for letter in ledger.letters.values():
        if ledger.state(letter) is State.OPEN:
            since.setdefault(letter.group, []).append(letter.failure.last)
    return [
        Verdict(
            "warning",
            "dead-letters",
            group,
            f"{len(moments):,} dead letter(s) are open, the oldest since {format_time(min(moments))}.",
            f"See `agencybus dlq list --group {group}`.",
        )
        for group, moments in sorted(since.items())
    ]


def _keys(held: Sequence[Held]) -> list[Verdict]:
    of: dict[str, list[Held]] = {}
    for one in held:
        if one.due is None:  # what is tried again by itself needs nobody
            of.setdefault(one.group, []).append(one)
    return [
        Verdict(
            "warning",
            "parked",
            group,
            f"{len(keys):,} key(s) stand still with {sum(len(one.rows) for one in keys):,} record(s), "
            f"the longest since {format_time(min(one.why.first for one in keys))}.",
            f"See `agencybus parked list --group {group}`.",
        )
        for group, keys in sorted(of.items())
    ]
