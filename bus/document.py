"""Reads one YAML (or JSON) file into a pydantic model and remembers the line of every value.

Called for every file a person writes: topologies and process definitions. The trap it avoids: full YAML turns `no` into
False, `012` into 10 and a kilobyte of aliases into gigabytes, and pydantic's errors name no line. So anchors, aliases,
tags, merge keys and repeated keys are refused, only true, false, null and decimal numbers are resolved, size, depth and
count are capped, and each fault is a Finding with the line a person must edit.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from bus.errors import CheckFailed, Finding

M = TypeVar("M", bound=BaseModel)
Loc = tuple[str | int, ...]

MAX_BYTES = 1 << 20  # a process or topology file is a few hundred lines; 1 MiB is far beyond what a person reviews
MAX_DEPTH = 32  # levels of nesting
MAX_VALUES = 50_000  # bounds memory and time where 1 MiB of `-` lines would hold half a million values
_MAX_FINDINGS = 100
_MAX_KEY = 80  # characters of a key in a message
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
# libyaml's parser is iterative, so deep nesting cannot exhaust the stack before our cap is seen.
_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


@dataclass(frozen=True, slots=True)
class Document(Generic[M]):
    """A file that was read and found right.

    Args:
        file: the name it was given by.
        value: the validated model.
        data: the same as plain dicts, lists and scalars.
        lines: 1-based line of each value by its path of keys and indexes.
    """

    file: str
    value: M
    data: Any
    lines: Mapping[Loc, int]

    def line(self, *loc: str | int) -> int:
        """The line of the value at `loc`, or of its nearest ancestor that stands in the file."""
        return self.lines[_nearest(self.lines, loc)]

    def finding(self, rule: str, message: str, *loc: str | int, fix: str = "") -> Finding:
        """A Finding at `loc`, for rules that are checked after reading.

        Args:
            rule: name of the rule.
            message: what is wrong, said of the file.
            loc: path of keys and indexes of the value.
            fix: what to do about it.
        """
        return Finding(self.file, self.line(*loc), rule, message, fix)


def load(path: str | Path, model: type[M]) -> Document[M]:
    """Read and validate the file at `path`.

    Raises:
        CheckFailed: with every fault found: unreadable, not safe YAML, or not what `model` asks for.
    """
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise CheckFailed(
            [Finding(str(path), 0, "unreadable", f"cannot be read: {reason}.", "Check the path and its rights.")]
        ) from None
    return parse(raw, model, file=str(path))


def parse(raw: bytes, model: type[M], *, file: str) -> Document[M]:
    """Read and validate the bytes of one file.

    Args:
        raw: the file's bytes.
        model: what they must be.
        file: the name used in findings.

    Raises:
        CheckFailed: with every fault found. No other exception, whatever the bytes are.
    """
    data, lines = read(raw, file=file)
    try:
        # Through JSON, so that strict models take lists for tuples and text for enums and dates, as files write them.
        value = model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        found = sorted({_explain(file, lines, model, detail) for detail in details[:_MAX_FINDINGS]})
        if len(details) > _MAX_FINDINGS:
            text = f"has {len(details) - _MAX_FINDINGS:,} more faults of form."
            found.append(Finding(file, 0, "more", text, "Correct those above first."))
        raise CheckFailed(found) from None
    return Document(file=file, value=value, data=data, lines=lines)


def read(raw: bytes, *, file: str) -> tuple[Any, dict[Loc, int]]:
    """Read bytes into plain data and the line of each value, without a model.

    Raises:
        CheckFailed: when they are not one safe YAML document.
    """
    builder = _Builder(file)
    text = _decode(raw, file)
    try:
        return builder.document(yaml.parse(text, Loader=_LOADER))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it does not parse"
        line = min(mark.line, text.count("\n")) + 1 if mark is not None else 0  # libyaml may point behind the end
    except (ValueError, OverflowError):  # the pure-Python parser on an escape beyond Unicode
        problem, line = "an escape is no Unicode character", 0
    raise _wrong(file, line, "yaml", f"is not YAML: {problem}.", "Correct the layout near this line.")


def _wrong(file: str, line: int, rule: str, message: str, fix: str) -> CheckFailed:
    return CheckFailed([Finding(file, line, rule, message, fix)])


def _decode(raw: bytes, file: str) -> str:
    """The text of a file that is small enough and holds UTF-8 text."""
    if len(raw) > MAX_BYTES:
        raise _wrong(file, 0, "size", "is larger than 1 MiB.", "Split it; a file people review is far smaller.")
    if b"\0" in raw:
        raise _wrong(file, 0, "binary", "holds binary data (a NUL byte).", "Save it as UTF-8 text.")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _wrong(file, line, "encoding", "is not UTF-8 text.", "Save it as UTF-8.") from None


class _Builder:
    """Builds data and lines from parser events; refuses what safe YAML does not need."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: dict[Loc, int] = {}

    def document(self, events: Iterator[Any]) -> tuple[Any, dict[Loc, int]]:
        """The single document of the stream."""
        documents = 0
        data: Any = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refuse(event, "documents", "holds more than one document.", "Keep one per file.")
                data = self._value(next(events), events, ())
        if not documents:
            raise _wrong(self._file, 0, "empty", "is empty.", "Write the document's keys into it.")
        return data, self._lines

    def _refuse(self, event: Any, rule: str, message: str, fix: str) -> CheckFailed:
        return _wrong(self._file, event.start_mark.line + 1, rule, message, fix)

    def _value(self, event: Any, events: Iterator[Any], loc: Loc) -> Any:
        """The value that begins with `event`. Recursion ends at MAX_DEPTH."""
        self._guard(event, loc)
        self._lines.setdefault(loc, event.start_mark.line + 1)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, loc)
        return self._mapping(events, loc)

    def _guard(self, event: Any, loc: Loc) -> None:
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._refuse(event, "alias", "uses an anchor or alias (& or *).", "Write the value out, or quote it.")
        if event.tag is not None and event.tag != "!":
            raise self._refuse(event, "tag", f"uses the tag {event.tag[:40]!r}.", "Remove it; plain values suffice.")
        if len(loc) > MAX_DEPTH:
            raise self._refuse(event, "depth", f"nests deeper than {MAX_DEPTH} levels.", "Flatten the structure.")
        if len(self._lines) >= MAX_VALUES:
            raise self._refuse(event, "count", f"holds more than {MAX_VALUES} values.", "Split the file.")

    def _sequence(self, events: Iterator[Any], loc: Loc) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._value(event, events, (*loc, len(items))))
        return items

    def _mapping(self, events: Iterator[Any], loc: Loc) -> dict[str, Any]:
        entries: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, loc)
            if key in entries:
                first = self._lines[(*loc, key)]
                raise self._refuse(
                    event, "duplicate", f"repeats the key {_short(key)!r} of line {first}.", "Keep one of them."
                )
            self._lines[(*loc, key)] = event.start_mark.line + 1
            entries[key] = self._value(next(events), events, (*loc, key))
        return entries

    def _key(self, event: Any, loc: Loc) -> str:
        self._guard(event, loc)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._refuse(event, "key", "uses a list or mapping as a key.", "Use a word as the key.")
        if event.implicit[0] and event.value == "<<":
            raise self._refuse(event, "merge", "uses a merge key (<<).", "Write the keys out.")
        key = self._scalar(event)
        if not isinstance(key, str) or not key:
            raise self._refuse(event, "key", f"has the key {event.value[:40]!r}, which is no text.", "Quote the key.")
        return key

    def _scalar(self, event: Any) -> str | int | float | bool | None:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block scalar
            return self._text(event, text)
        if text in _WORDS:
            return _WORDS[text]
        if not (len(text) <= 40 and _FLOAT.fullmatch(text)):
            return self._text(event, text)
        number = int(text) if _INT.fullmatch(text) else float(text)
        if not -(2**63) <= number < 2**63 or math.isinf(number):
            raise self._refuse(event, "number", f"holds the number {text}, beyond 64 bits.", "Quote it if it is text.")
        return number

    def _text(self, event: Any, text: str) -> str:
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            raise self._refuse(event, "encoding", "holds half a surrogate pair.", "Write the character itself.")
        return text


def _nearest(lines: Mapping[Loc, int], loc: Loc) -> Loc:
    """The deepest path in the file along `loc`; parts pydantic adds (union branches, `[key]`) are passed over."""
    found: Loc = ()
    for part in loc:
        if (*found, part) in lines:
            found = (*found, part)
    return found


def _explain(file: str, lines: Mapping[Loc, int], model: type[BaseModel], detail: Any) -> Finding:
    """Turn one pydantic error into a Finding. A validator may give its own fix as context entry ``fix``."""
    loc: Loc = detail["loc"]
    place = _nearest(lines, loc)
    kind: str = detail["type"]
    where = ".".join(str(_short(part)) for part in loc) or "document"
    last = _short(loc[-1]) if loc else ""
    message: str = detail["msg"].removeprefix("Value error, ").rstrip(".")
    fix = str(detail.get("ctx", {}).get("fix", ""))
    known = _known(model, place[:-1] if kind == "extra_forbidden" else place)
    if kind == "missing":
        message, fix = f"the key {last!r} is missing", fix or f"Add `{last}:`."
    elif kind == "extra_forbidden":
        near = get_close_matches(str(loc[-1]), known, n=1)
        message = f"the key {last!r} is unknown"
        fix = f"Write {near[0]!r}." if near else f"Known here: {', '.join(known[:20])}." if known else "Remove it."
    return Finding(file, lines[place], kind, f"{where}: {message}.", fix)


def _short(part: str | int) -> str | int:
    """A part of a path as a message shows it; a key may be a megabyte long."""
    return part if isinstance(part, int) or len(part) <= _MAX_KEY else f"{part[:_MAX_KEY]}…"


def _known(model: type[BaseModel], place: Loc) -> list[str]:
    """The keys that models at `place` understand."""
    models = [model]
    for part in place:
        fields = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        # A list index or a free key leads to the models already found inside the field's annotation.
        models = [found for annotation in fields for found in _models(annotation)] or models
    return sorted({info.alias or name for m in models for name, info in m.model_fields.items()})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The pydantic models inside an annotation such as ``tuple[Step, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
