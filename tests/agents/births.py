"""Synthetic births for tests: what each office says of one case, with ids that stay the same when it is told twice."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from schemas.birth import BenefitAssigned, BirthNotified, BirthRegistered, IdentityEntered, Sex
from tests.agents.world import World

DAY = date(2026, 1, 5)


def notify(world: World, case: str, *, stillborn: bool = False, source: str | None = None) -> None:
    """The clinic tells of the birth."""
    event = BirthNotified(
        child="SYN-child",
        mother="SYN-mother",
        father=None,
        born_at=datetime(2026, 1, 5, 6, 0, tzinfo=UTC),
        sex=Sex.FEMALE,
        plurality=1,
        birth_order=1,
        stillborn=stillborn,
        weight_g=3400,
        facility="SYN-CLINIC-1",
        mother_citizenship="AZ",
    )
    world.publish(event, case, agency="health", event_id=f"n-{case}", source=source)


def register(world: World, case: str, *, stillbirth: bool = False) -> None:
    """The civil registry enters the birth."""
    event = BirthRegistered(
        record_number=f"R-{case}",
        stillbirth=stillbirth,
        person=None if stillbirth else f"SYN-P-{case}",
        mother="SYN-mother",
        father_recorded=False,
        registered_on=DAY,
    )
    world.publish(event, case, agency="justice", event_id=f"r-{case}")


def identify(world: World, case: str) -> None:
    """The ID office enters the person."""
    event = IdentityEntered(person=f"SYN-P-{case}", document_number=f"ID-{case}", entered_on=DAY)
    world.publish(event, case, agency="interior", event_id=f"i-{case}")


def assign(world: World, case: str) -> None:
    """The social fund assigns the benefit."""
    event = BenefitAssigned(
        person=f"SYN-P-{case}",
        request_id=f"Q-{case}",
        amount=Decimal("500.00"),
        currency="AZN",
        assigned_on=DAY,
    )
    world.publish(event, case, agency="social-fund", event_id=f"b-{case}")
