"""Builds logs for tests and counts them by another method than our readers: regular expressions over the text."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import quoteattr

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "environmental-permit-receipt.xes.gz"
"""A real municipality's log, beside the repository; a test that needs it fails where it is missing."""

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<log xes.version="1.0" xmlns="http://www.xes-standard.org/">\n'


@dataclass
class Count:
    """What the closing report has to say."""

    cases: int
    events: int
    activities: Counter[str]
    outcomes: Counter[str]
    breaches: int
    first: datetime
    last: datetime


def real_text() -> str:
    """The real log, unpacked."""
    assert REAL.is_file(), f"the real log is missing: {REAL}"
    return gzip.decompress(REAL.read_bytes()).decode()


def count(text: str) -> Count:
    """Count a log of the usual layout (one attribute per element, no nesting inside events) without parsing XML."""
    activities: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    times: list[datetime] = []
    breaches = 0
    traces = re.findall(r"<trace>(.*?)</trace>", text, re.DOTALL)
    for trace in traces:
        bodies = re.findall(r"<event>(.*?)</event>", trace, re.DOTALL)
        events = [(_time(_value(body, "time:timestamp")), _value(body, "concept:name")) for body in bodies]
        activities.update(name for _, name in events)
        moments = [moment for moment, _ in events]
        latest = max(moments)
        outcomes[[name for moment, name in events if moment == latest][-1]] += 1
        times += moments
        due = re.search(r'key="deadline" value="([^"]*)"', trace.split("<event>")[0])
        breaches += due is not None and latest > _time(due[1])
    return Count(len(traces), sum(activities.values()), activities, outcomes, breaches, min(times), max(times))


def _value(body: str, key: str) -> str:
    found = re.search(rf'key="{key}" value="([^"]*)"', body)
    assert found is not None
    return found[1]


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def event(activity: str | None, time: str | None, extra: str = "") -> str:
    """An ``<event>``; None leaves the attribute out."""
    name = "" if activity is None else f'<string key="concept:name" value={quoteattr(activity)}/>'
    stamp = "" if time is None else f'<date key="time:timestamp" value="{time}"/>'
    return f"<event>{name}{stamp}{extra}</event>\n"


def trace(name: str | None, *events: str, extra: str = "") -> str:
    """A ``<trace>``; None leaves the name out."""
    named = "" if name is None else f'<string key="concept:name" value={quoteattr(name)}/>'
    return f"<trace>{named}{extra}\n{''.join(events)}</trace>\n"


def log(*parts: str) -> str:
    """A whole file of traces (and what else stands under ``<log>``)."""
    return HEAD + "".join(parts) + "</log>\n"


def enlarge(path: Path, *, copies: int) -> Path:
    """Write the real log `copies` times over under new case names, plain; constant memory but for one copy."""
    text = real_text()
    start = text.index("<trace>")
    body, end = text[start : text.rindex("</log>")], text[text.rindex("</log>") :]
    with path.open("w", encoding="utf-8") as out:
        out.write(text[:start])
        for number in range(copies):
            out.write(body.replace('value="case-', f'value="copy{number}-case-'))
        out.write(end)
    return path
