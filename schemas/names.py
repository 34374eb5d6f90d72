"""The name grammar: agencies, topics, contracts, case ids.

Called wherever a name crosses a border. A topic is an event type: ``<agency>.<entity>.<fact>.v<major>``, lower case,
so read and write rights follow from the name alone. The trap it avoids: Kafka treats ``.`` and ``_`` as equal in
metric names, so underscores are not in the grammar and two topics cannot collide.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from schemas.errors import NameRefused

_WORD = r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*"
_AGENCY = re.compile(_WORD)
_CONTRACT = re.compile(rf"{_WORD}\.{_WORD}")
_TOPIC = re.compile(rf"(?P<agency>{_WORD})\.(?P<contract>{_WORD}\.{_WORD})\.v(?P<major>[1-9][0-9]{{0,3}})")
_CASE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._~:/%-]{0,254})")
MAX_TOPIC = 249  # Kafka's own limit on a topic name (org.apache.kafka.common.internals.Topic)


@dataclass(frozen=True, slots=True)
class TopicName:
    """A parsed topic: the owning agency, the contract ``<entity>.<fact>`` and its major version."""

    agency: str
    contract: str
    major: int

    def __str__(self) -> str:
        return f"{self.agency}.{self.contract}.v{self.major}"


def agency(text: str) -> str:
    """Return `text` if it names an agency (lower-case words joined by hyphens).

    Raises:
        NameRefused: otherwise, with the grammar.
    """
    if not _AGENCY.fullmatch(text) or len(text) > 64:
        raise NameRefused(f"agency {text!r}: write lower-case words joined by hyphens, at most 64 characters")
    return text


def contract(text: str) -> str:
    """Return `text` if it is ``<entity>.<fact>``, e.g. ``request.created``.

    Raises:
        NameRefused: otherwise.
    """
    if not _CONTRACT.fullmatch(text):
        raise NameRefused(f"contract {text!r}: write <entity>.<fact> in lower case, such as request.created")
    return text


def topic(text: str) -> TopicName:
    """Parse a topic name.

    Raises:
        NameRefused: when it is not ``<agency>.<entity>.<fact>.v<major>`` or longer than Kafka allows.
    """
    found = _TOPIC.fullmatch(text)
    if found is None or len(text) > MAX_TOPIC:
        raise NameRefused(
            f"topic {text!r}: write <agency>.<entity>.<fact>.v<major> in lower case, e.g. justice.birth.registered.v1"
        )
    return TopicName(found["agency"], found["contract"], int(found["major"]))


def case_id(text: str) -> str:
    """Return `text` if it can be a case id: 1-255 URL characters, first one a letter or digit.

    Raises:
        NameRefused: otherwise; `case_part` makes one from any text.
    """
    if not _CASE.fullmatch(text):
        raise NameRefused(f"case id {text!r}: 1 to 255 of letters, digits and . _ ~ : / % -, first a letter or digit")
    return text


def case_part(text: str) -> str:
    """Make any text safe inside a case id: other characters become percent escapes (RFC 3986), injectively."""
    return quote(text, safe="")
