"""The typed attributes of XES: one element and what is nested in it becomes flat text, checked by its type.

Called by `xes` for every log, trace and event attribute. Paths: a nested key stands after its parent's, ``a/b``; the
members of a list or container are ``key/0``, ``key/1``, ...; ``~`` and ``/`` inside a key are written ``~0`` and
``~1`` (RFC 6901), so two attributes never share a path. The trap it avoids: a type that is not checked turns
``value="12,5"`` into a fact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from connectors import log_time

MAX_DEPTH = 32  # nesting; the published logs use 3
MAX_TEXT = 65_536  # characters of one value; the record of an event has to fit into 1 MB (Kafka's default)
MAX_ATTRIBUTES = 10_000  # of one event, trace or log
MAX_KEY = 1_000  # characters of a path, and of an activity (schemas.recorded)
_INT = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?|[+-]?INF|NaN", re.ASCII)
_ID = re.compile(r"\S{1,256}")
_MEMBERS = ("list", "container")
_SIMPLE = ("string", "date", "int", "float", "boolean", "id")


class Fault(Exception):
    """An attribute breaks the standard.

    Args:
        line: where, 1-based.
        rule: short name of the rule.
        message: what is wrong, one clause. fix: what to write instead.
    """

    def __init__(self, line: int, rule: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.line = line
        self.rule = rule
        self.message = message
        self.fix = fix


class Flattener:
    """Turns attribute elements into flat text.

    Args:
        namespace: of the file's root as ``{uri}``, empty when it has none; elements of others are passed over.
        prefixes: the file's prefix -> the standard's own, for extensions declared under another prefix.
    """

    def __init__(self, *, namespace: str, prefixes: Mapping[str, str]) -> None:
        self._kinds = {namespace + kind: kind for kind in (*_SIMPLE, *_MEMBERS)}
        self._values = namespace + "values"
        self._namespace = namespace
        self._prefixes = prefixes

    def knows(self, element: Any) -> bool:
        """Whether `element` is an attribute of XES."""
        return element.tag in self._kinds

    def add(self, element: Any, found: MutableMapping[str, str], *, parent: str = "", depth: int = 0) -> None:
        """Add an attribute and what is nested in it to `found`.

        Args:
            element: the attribute's XML element.
            found: flattened key -> value, added to.
            parent: the enclosing attributes' keys with their separators.
            depth: how many enclose it.

        Raises:
            Fault: no key, no value, a value that is not of its type, an unknown element, one of our caps.
        """
        kind = self._kinds.get(element.tag)
        if kind is None:
            self.foreign(element)
            return
        key = element.get("key")
        if not key or len(parent) + len(key) > MAX_KEY:
            fix = f"Give each attribute a key of at most {MAX_KEY} characters, with its parents' keys."
            raise Fault(element.sourceline, "xes-key", f"<{kind}> has no key or too long a one", fix)
        self._keep(element, kind, parent + self._path(key), found, depth)

    def foreign(self, element: Any) -> None:
        """Pass over a comment or an element of another namespace. Raises Fault when it claims to be ours."""
        tag = element.tag
        if not isinstance(tag, str):
            return
        namespace = tag[: tag.find("}") + 1]
        if namespace == self._namespace:
            name = tag[len(namespace) :]
            raise Fault(element.sourceline, "xes-element", f"<{name[:40]}> is no element of XES here", "Remove it.")

    def _path(self, key: str) -> str:
        if self._prefixes and ":" in key:
            prefix, rest = key.split(":", 1)
            key = f"{self._prefixes.get(prefix, prefix)}:{rest}"
        if "~" in key or "/" in key:
            key = key.replace("~", "~0").replace("/", "~1")
        return key

    def _keep(self, element: Any, kind: str, path: str, found: MutableMapping[str, str], depth: int) -> None:
        if kind not in _MEMBERS:
            value = element.get("value")
            if value is None:
                raise Fault(element.sourceline, "xes-value", f"{path}: <{kind}> has no value", "Give it a value.")
            found[path] = value if kind == "string" and len(value) <= MAX_TEXT else _checked(element, kind, path, value)
            if len(found) > MAX_ATTRIBUTES:
                raise Fault(element.sourceline, "xes-size", f"more than {MAX_ATTRIBUTES} attributes", "Split it.")
        if len(element):
            if depth >= MAX_DEPTH:
                raise Fault(element.sourceline, "xes-depth", f"nested deeper than {MAX_DEPTH}", "Nest attributes less.")
            self._nested(element, kind, path, found, depth + 1)

    def _nested(self, element: Any, kind: str, path: str, found: MutableMapping[str, str], depth: int) -> None:
        if kind not in _MEMBERS:
            for child in element:
                self.add(child, found, parent=path + "/", depth=depth)
            return
        number = 0
        for child in element:
            # A list keeps its members in <values>, a container (and the lists of older files) directly.
            for member in child if child.tag == self._values else (child,):
                member_kind = self._kinds.get(member.tag)
                if member_kind is None:
                    self.foreign(member)
                    continue
                self._keep(member, member_kind, f"{path}/{number}", found, depth)
                number += 1


def _checked(element: Any, kind: str, path: str, value: str) -> str:
    """`value` as its type writes it, without surrounding space."""
    if len(value) > MAX_TEXT:
        raise Fault(element.sourceline, "xes-size", f"{path}: longer than {MAX_TEXT} characters", "Shorten it.")
    text = value.strip()
    if kind == "date":
        fits = _is_date(text)
    elif kind == "int":
        fits = _INT.fullmatch(text) is not None and -(2**63) <= int(text) < 2**63
    elif kind == "float":
        fits = _FLOAT.fullmatch(text) is not None
    elif kind == "boolean":
        fits = text.lower() in ("true", "false", "1", "0")
    else:
        fits = _ID.fullmatch(text) is not None
    if not fits:
        raise Fault(element.sourceline, f"xes-{kind}", f"{path}: {text[:60]!r} is no {kind}", _EXAMPLES[kind])
    return text.lower() if kind == "boolean" else text


def _is_date(text: str) -> bool:
    try:
        log_time.iso(text)
    except ValueError:
        return False
    return True


_EXAMPLES = {
    "date": "Write 2011-10-11T13:45:40.276+02:00.",
    "int": "Write a whole number of 64 bits.",
    "float": "Write a number with a decimal point.",
    "boolean": "Write true or false.",
    "id": "Write an identifier without spaces.",
}
