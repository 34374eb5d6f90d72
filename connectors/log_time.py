"""Reads the times of recorded logs: ISO 8601 as XES has it, and the forms CSV exports come in.

Called by `xes`, `csv_log` and `replay`. The trap it avoids: 04/05/2011 is in April or in May, and a guess moves every
event by a month. A form is taken only when the whole column fits one reading; two that differ are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

Parse = Callable[[str], datetime]
_NUMERIC = re.compile(
    r"(?P<a>\d{1,4})(?P<s>[./-])(?P<b>\d{1,2})(?P=s)(?P<c>\d{1,4})"
    r"(?:(?:T|,? +)(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r" ?(?P<half>[AaPp][Mm])?)?"
    r" ?(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_MIDNIGHT = re.compile(r"(.*T)24(:00:00(?:\.0+)?.*)", re.DOTALL)
_ORDERS = {"dmy": "day first", "mdy": "month first", "ymd": "year first"}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMED = re.compile(r"(\d{1,2})([ -])([A-Za-z]{3})[a-z]*\2(\d{2,4})(.*)", re.DOTALL | re.ASCII)
_EPOCHS = {"s": (9, 11, 1_000_000), "ms": (12, 14, 1_000), "us": (15, 17, 1)}


class Ambiguous(ValueError):
    """Two readings of the same column differ: day first or month first."""


def iso(text: str) -> datetime:
    """Parse ISO 8601 (the ``xs:dateTime`` of XES and what Python accepts besides); without a zone it is UTC.

    Raises:
        ValueError: when it is no such time or outside the years 1 to 9999.
    """
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        midnight = _MIDNIGHT.fullmatch(text)  # xs:dateTime writes the end of a day as 24:00:00
        if midnight is None:
            raise
        moment = datetime.fromisoformat(f"{midnight[1]}00{midnight[2]}") + timedelta(days=1)
    return _utc(moment)


def given(form: str) -> Parse:
    """The parser of a form the user names: ``iso``, ``s``, ``ms``, ``us`` (since 1970) or a strptime format."""
    if form == "iso":
        return iso
    if form in _EPOCHS:
        return _epoch(form)
    return lambda text: _utc(datetime.strptime(text.strip(), form))


def find(values: Iterable[str]) -> Parse:
    """Find the one form in which every value is a time; stops reading once a form without a rival is certain.

    Raises:
        Ambiguous: when day first and month first both fit all values and differ.
        ValueError: when no form fits, with the first value that none of them takes.
    """
    live: dict[str, Parse] = {"iso": iso, **{name: _epoch(name) for name in _EPOCHS}, "named": _named}
    live |= {order: _numeric(order) for order in _ORDERS}
    some = differ = False
    for value in values:
        some = True
        read = {name: moment for name, parse in live.items() if (moment := _try(parse, value)) is not None}
        if not read:
            raise ValueError(value)
        live = {name: live[name] for name in read}
        differ = differ or len(set(read.values())) > 1
        if len(live) == 1 or "iso" in live:
            break
    if not some:
        raise ValueError("")
    if len(live) > 1 and differ and "iso" not in live:
        raise Ambiguous(" and ".join(_ORDERS.get(name, name) for name in live))
    return next(iter(live.values()))


def _try(parse: Parse, text: str) -> datetime | None:
    try:
        return parse(text)
    except (ValueError, OverflowError):
        return None


def _utc(moment: datetime) -> datetime:
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("outside the years 1 to 9999") from None


def _epoch(unit: str) -> Parse:
    shortest, longest, factor = _EPOCHS[unit]

    def parse(text: str) -> datetime:
        digits = text.strip()
        if not (digits.isascii() and digits.isdigit() and shortest <= len(digits) <= longest):
            raise ValueError(text)
        return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(digits) * factor)

    return parse


def _numeric(order: str) -> Parse:
    def parse(text: str) -> datetime:
        found = _NUMERIC.fullmatch(text.strip())
        if found is None:
            raise ValueError(text)
        parts = dict(zip(order, (found["a"], found["b"], found["c"]), strict=True))
        if len(parts["y"]) not in (2, 4) or max(len(parts["d"]), len(parts["m"])) > 2:
            raise ValueError(text)
        year = int(parts["y"]) + (
            0 if len(parts["y"]) == 4 else 2000 if int(parts["y"]) < 69 else 1900
        )  # POSIX's pivot
        fraction = (found["fraction"] or "").ljust(6, "0")[:6]
        moment = datetime(
            year,
            int(parts["m"]),
            int(parts["d"]),
            _hour(found["hour"], found["half"]),
            int(found["minute"] or 0),
            int(found["second"] or 0),
            int(fraction),
            tzinfo=UTC,
        )
        return moment - _offset(found["zone"])

    return parse


def _hour(text: str | None, half: str | None) -> int:
    hour = int(text or 0)
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(f"{hour} {half}")
    return hour % 12 + (12 if half.lower() == "pm" else 0)


def _offset(zone: str | None) -> timedelta:
    if zone is None or zone in ("Z", "UTC", "GMT"):
        return timedelta()
    size = timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return -size if zone[0] == "-" else size


def _named(text: str) -> datetime:
    """``04-May-2011 10:00:00`` and its like, English month names."""
    found = _NAMED.fullmatch(text.strip())
    if found is None or found[3].lower() not in _MONTHS:
        raise ValueError(text)
    return _numeric("dmy")(f"{found[1]}-{_MONTHS.index(found[3].lower()) + 1}-{found[4]}{found[5]}")
