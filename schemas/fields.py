"""The kinds of values contracts are made of, so that one word has one shape in all of them.

Imported by the contract modules only. The trap it avoids: a person reference of 64 characters in one contract and 32
in the next is refused halfway through a case, at another agency.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field


def to_utc(moment: datetime) -> datetime:
    """Bring a time to UTC, which is what the bytes carry (Avro timestamp-micros)."""
    if moment.tzinfo is UTC:  # what the codec reads: nothing to do on the hot path
        return moment
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside the years 1 to 9999 in UTC") from None


Moment = Annotated[AwareDatetime, AfterValidator(to_utc)]
"""A point in time with a zone, kept in UTC with microseconds."""

PersonRef = Annotated[str, Field(min_length=4, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9:-]*$")]
"""A personal number or a pseudonym of a person; never a name."""

Code = Annotated[str, Field(max_length=64, pattern=r"^[a-z][a-z0-9_-]*$")]
"""A word from a code list: lower case, digits, hyphen, underscore."""

Reference = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:~-]*$")]
"""An agency's own number of a request, record or document."""

Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""ISO 4217, such as AZN."""

Amount = Annotated[Decimal, Field(max_digits=12, decimal_places=2, ge=0)]
"""Money with two decimals, not negative."""

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A given name or surname in any script, without control characters."""

Text = Annotated[str, Field(min_length=1, max_length=2000)]
"""A sentence or a few for people to read."""
