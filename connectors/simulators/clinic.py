"""The clinics (Health): tell of each birth once, and never again to anyone.

Run by ``agencybus connector run clinic``. The trap it avoids: a clinic started twice with one seed and run tells of
the same births, with the same ids, so no family gets anything twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bus.publish import Publication
from connectors import people


@dataclass(frozen=True, slots=True, kw_only=True)
class Clinic:
    """A `Source` of births.

    Args:
        births: how many children. seed: chooses the families. year: of birth. run: part of case ids and event ids.
    """

    births: int
    seed: int
    year: int
    run: str
    agency: str = "health"

    def publications(self) -> Iterator[Publication]:
        """One notification per child; the case is the birth, ``birth-<run>-<number>``."""
        for birth in people.births(self.births, seed=self.seed, year=self.year):
            case = f"birth-{self.run}-{birth.number:06d}"
            yield Publication(
                event=birth.notice, case=case, id=f"{case}-notified-{self.seed}", purpose="civil-registration"
            )
