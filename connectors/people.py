"""Synthetic people and births, seeded: the same seed gives the same families, and none of them exists.

Called by `simulators.clinic` (births) and `simulators.civil_registry` and `simulators.id_office` (names and numbers).
Every number begins with ``SYN``, every name comes from a short invented list. The trap it avoids: test data that might
be someone's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random

from schemas.birth import BirthNotified, Sex

# Invented, in the sound of the region; no list of real persons was used.
GIVEN = ("Ayra", "Elnarin", "Lalezar", "Nurana", "Samiran", "Orxal", "Turalan", "Vaqifin", "Zaremi", "Rasilan")
SURNAMES = ("Sintetikova", "Nümunəli", "Sınaqzadə", "Örnəkov", "Uydurmalı", "Modelov", "Təxəllüs", "Qurmalı")
FACILITIES = ("SYN-CLINIC-01", "SYN-CLINIC-02", "SYN-CLINIC-03", "SYN-CLINIC-04")
FOREIGN = ("GE", "TR", "UA", "KZ", "IT")
HOME = "AZ"
# Shares for simulation only, of the order of real ones: twins 1.2 % of births, stillbirths 1 %, the rest chosen.
TWINS, STILLBORN, UNKNOWN_FATHER, FOREIGN_MOTHER = 0.012, 0.010, 0.050, 0.040


@dataclass(frozen=True, slots=True)
class Birth:
    """One child's birth: its number in the series (from 1) and what the clinic tells."""

    number: int
    notice: BirthNotified


def number(kind: str, *parts: object) -> str:
    """A synthetic personal number or pseudonym, ``SYN-<kind>-<12 hex digits>``, the same for the same parts."""
    text = "\0".join(str(part) for part in parts)
    return f"SYN-{kind}-{sha256(text.encode()).hexdigest()[:12]}"


def name_of(person: str, *, mother: str) -> tuple[str, str]:
    """An invented given name and the family's surname (by the mother, so that twins share it)."""
    return GIVEN[_choice(person, len(GIVEN))], SURNAMES[_choice(mother, len(SURNAMES))]


def births(count: int, *, seed: int, year: int) -> Iterator[Birth]:
    """`count` births of `year`; the first five are twins, a stillbirth, an unknown father and a foreign mother.

    Args:
        count: how many children.
        seed: chooses all that is random.
        year: 1900 to 2100.
    """
    chance = Random(seed)  # noqa: S311 - repeatable by design, protects nothing
    made = 0
    while made < count:
        fixture = _FIXTURES.get(made)
        twins = fixture == "twins" or (fixture is None and chance.random() < TWINS)
        siblings = min(2 if twins else 1, count - made)
        for notice in _family(
            chance, fixture, seed=seed, first=made + 1, plurality=2 if siblings == 2 else 1, year=year
        ):
            made += 1
            yield Birth(made, notice)


def _family(
    chance: Random, fixture: str | None, *, seed: int, first: int, plurality: int, year: int
) -> Iterator[BirthNotified]:
    mother = number("M", seed, year, first)
    usual = fixture is None
    fatherless = fixture == "unknown-father" or (usual and chance.random() < UNKNOWN_FATHER)
    foreign = fixture == "foreign" or (usual and chance.random() < FOREIGN_MOTHER)
    born = datetime(year, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(365 * 24 * 60))
    facility = chance.choice(FACILITIES)
    citizenship = chance.choice(FOREIGN) if foreign else HOME
    for order in range(1, plurality + 1):
        yield BirthNotified(
            child=number("C", seed, year, first, order),
            mother=mother,
            father=None if fatherless else number("F", seed, year, first),
            born_at=born + timedelta(minutes=7 * (order - 1)),
            sex=chance.choice((Sex.FEMALE, Sex.MALE)),
            plurality=plurality,
            birth_order=order,
            stillborn=fixture == "stillborn" or (usual and chance.random() < STILLBORN),
            weight_g=round(min(5200, max(900, chance.gauss(2500 if plurality > 1 else 3350, 450)))),
            facility=facility,
            mother_citizenship=citizenship,
        )


def _choice(text: str, size: int) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:4]) % size


_FIXTURES = {0: "twins", 2: "stillborn", 3: "unknown-father", 4: "foreign"}  # by how many births came before
