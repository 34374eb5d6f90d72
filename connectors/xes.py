"""Reads XES logs as IEEE 1849 says, one event at a time, with bounded memory.

Called by `replay`. Traces come in file order, events of a trace in file order. The traps it avoids: entity expansion
(a document type is refused, XES has none), a log that keeps every parsed element in memory, two traces of one name
taken for one case, and one huge trace held whole: after `HOLD` events of a trace they are passed on as they come.

What is missing: a trace without ``concept:name`` is named by the ``<global>`` default, else ``trace-<n>``; an event
without one is `UNNAMED` unless a default names it; an event without ``time:timestamp`` has no time, even where a
default exists. Events outside traces belong to no case: they are counted, not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from bus.errors import CheckFailed
from connectors import log_file, log_time
from connectors.log_event import NOTHING, UNNAMED, LogEvent
from connectors.xes_values import MAX_KEY, Fault, Flattener

HOLD = 10_000  # events of one trace kept until its attributes are complete
MAX_SPAN = 8 * 2**20  # bytes of XML from one event or trace to the next; as parsed elements up to 16 times that
_STANDARD = {
    "http://www.xes-standard.org/concept.xesext": "concept",
    "http://www.xes-standard.org/lifecycle.xesext": "lifecycle",
    "http://www.xes-standard.org/org.xesext": "org",
    "http://www.xes-standard.org/time.xesext": "time",
    "http://www.xes-standard.org/semantic.xesext": "semantic",
    "http://www.xes-standard.org/identity.xesext": "identity",
    "http://www.xes-standard.org/cost.xesext": "cost",
}
_WATCHED = ("log", "trace", "event", "extension", "global", "classifier")
_KEYS = re.compile(r"'([^']*)'|(\S+)")


@dataclass(slots=True)
class Header:
    """What the log says of itself; complete once the first event has come.

    Args:
        extensions: prefix -> URI, as declared.
        classifiers: name -> keys whose values together say what an event is.
        trace_defaults, event_defaults: the ``<global>`` attributes, flat.
        empty_traces: traces without events. loose_events: events outside traces.
    """

    extensions: dict[str, str] = field(default_factory=dict)
    classifiers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trace_defaults: dict[str, str] = field(default_factory=dict)
    event_defaults: dict[str, str] = field(default_factory=dict)
    traces: int = 0
    empty_traces: int = 0
    loose_events: int = 0


class XesLog:
    """An XES file, plain or gzip, in any encoding it declares.

    Args:
        path: the file.
        case, activity, timestamp: paths of the attributes that name the case and the activity and say the time.

    Iterating reads the file from its start. Raises:
        CheckFailed: no XES or not well-formed, naming file, line and field.
        UsageError: the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        case: str = "concept:name",
        activity: str = "concept:name",
        timestamp: str = "time:timestamp",
    ) -> None:
        self.path = path
        self.header = Header()
        self.parse_time: log_time.Parse = log_time.iso
        self._keys = (case, activity, timestamp)

    def __iter__(self) -> Iterator[LogEvent]:
        """Events in file order. Raises as the class says."""
        from lxml import etree

        self.header = Header()
        with log_file.reading(self.path) as stream:
            try:
                yield from _Pass(_Metered(stream, self.path), self.header, self._keys).events()
            except Fault as fault:
                raise log_file.wrong(self.path, fault.line, fault.rule, fault.message, fix=fault.fix) from None
            except etree.XMLSyntaxError as problem:
                raise self._malformed(problem) from None

    def _malformed(self, problem: Any) -> CheckFailed:
        text, line = str(problem.msg or "not well-formed"), problem.lineno or 0
        if not line and len(problem.error_log):  # for an unknown entity lxml says only that nothing was found
            text, line = problem.error_log[-1].message, problem.error_log[-1].line
        text = text.split(", line ")[0].removesuffix(", try XML_PARSE_HUGE").strip().rstrip(".")
        return log_file.wrong(self.path, line, "xml", f"{text}", fix="XES is well-formed XML.")


class _Metered:
    """A stream that refuses to give more than `MAX_SPAN` bytes between two events or traces."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self.span = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.span += len(data)
        if self.span > MAX_SPAN:
            message = f"more than {MAX_SPAN // 2**20} MB without an event"
            raise log_file.wrong(self._path, 0, "xes-size", message, fix="This is no event log, or a damaged one.")
        return data


class _Trace:
    """The trace being read: its attributes, and its events while they are held."""

    def __init__(self, element: Any, number: int) -> None:
        self.element = element
        self.number = number
        self.case = ""
        self.attributes: dict[str, str] = {}
        self.defaults: dict[str, str] = {}
        self.held: list[LogEvent] = []
        self.events = 0
        self.open = True  # attributes may still come


class _Pass:
    """One reading of one file."""

    def __init__(self, stream: _Metered, header: Header, keys: tuple[str, str, str]) -> None:
        self._stream = stream
        self._header = header
        self._case_key, self._activity_key, self._time_key = keys
        self._prefixes: dict[str, str] = {}
        self._names: set[str] = set()
        self._flat = Flattener(namespace="", prefixes=self._prefixes)
        self._root: Any = None
        self._trace: _Trace | None = None
        self._tags: dict[str, str] = {}

    def events(self) -> Iterator[LogEvent]:
        """Parse; the caller turns Fault and XMLSyntaxError into findings."""
        from lxml import etree

        # No DTD is loaded, no entity kept, no host asked; libxml2's own limits stay on (huge_tree).
        parsed = etree.iterparse(
            self._stream,
            events=("start", "end"),
            tag=tuple("{*}" + name for name in _WATCHED),
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
        )
        for moment, element in parsed:
            if self._root is None:
                self._begin(element)
            name = self._tags.get(element.tag)
            if name == "event":
                yield from self._event(moment, element)
            elif name == "trace":
                yield from self._on_trace(moment, element)
            elif name is not None and moment == "end" and element.getparent() is self._root:
                self._declaration(name, element)
        if self._root is None:
            self._begin(parsed.root)

    def _begin(self, element: Any) -> None:
        tree = element.getroottree()
        root = tree.getroot()
        if tree.docinfo.internalDTD is not None:
            fix = "Remove the <!DOCTYPE ...>: XES has none, and entities are not expanded."
            raise Fault(root.sourceline, "xes-doctype", "has a document type declaration", fix)
        namespace = root.tag[: root.tag.find("}") + 1]
        if root.tag[len(namespace) :] != "log":
            raise Fault(root.sourceline, "xes-root", f"the root is <{root.tag[:60]}>, not <log>", "Give an XES log.")
        self._root = root
        self._tags = {namespace + name: name for name in _WATCHED}
        self._flat = Flattener(namespace=namespace, prefixes=self._prefixes)

    def _declaration(self, name: str, element: Any) -> None:
        header, line = self._header, element.sourceline
        if name == "log":
            return
        if header.traces:
            raise Fault(line, "xes-order", f"<{name}> stands after the first trace", "Put it before the traces.")
        if name == "extension":
            prefix, uri = element.get("prefix") or "", element.get("uri") or ""
            header.extensions[prefix] = uri
            if _STANDARD.get(uri, prefix) != prefix:
                self._prefixes[prefix] = _STANDARD[uri]
        elif name == "classifier":
            keys = _KEYS.findall(element.get("keys") or "")
            header.classifiers[element.get("name") or ""] = tuple(quoted or bare for quoted, bare in keys)
        else:
            scope = element.get("scope") or "event"
            if scope not in ("event", "trace", "log"):
                raise Fault(line, "xes-scope", f"global scope {scope[:20]!r}", "Write scope trace or event.")
            defaults = header.trace_defaults if scope == "trace" else header.event_defaults
            for child in element if scope != "log" else ():
                self._flat.add(child, defaults)

    def _on_trace(self, moment: str, element: Any) -> Iterator[LogEvent]:
        if moment == "start":
            if self._trace is not None or element.getparent() is not self._root:
                raise Fault(element.sourceline, "xes-place", "<trace> stands inside a trace", "Close the trace before.")
            self._header.traces += 1
            self._trace = _Trace(element, self._header.traces)
            return
        trace = self._trace
        assert trace is not None  # an end has a start
        for child in element:
            self._trace_attribute(trace, child)
        if trace.open:
            self._close_attributes(trace)
        if not trace.events:
            self._header.empty_traces += 1
        self._stream.span = 0
        yield from self._release(trace)
        self._trace = None
        self._forget(element)

    def _event(self, moment: str, element: Any) -> Iterator[LogEvent]:
        trace, parent = self._trace, element.getparent()
        if parent is not (self._root if trace is None else trace.element):
            raise Fault(element.sourceline, "xes-place", "<event> stands outside a trace's own level", "Move it.")
        if moment == "start":
            return
        self._stream.span = 0
        if trace is None:
            self._header.loose_events += 1
            self._forget(element)
            return
        trace.held.append(self._read(element))
        trace.events += 1
        for before in element.itersiblings(preceding=True):
            self._trace_attribute(trace, before)
        self._forget(element)
        if len(trace.held) >= HOLD or not trace.open:
            if trace.open:
                self._close_attributes(trace)
            yield from self._release(trace)

    def _read(self, element: Any) -> LogEvent:
        attributes: dict[str, str] = {}
        add = self._flat.add
        for child in element:
            add(child, attributes)
        header = self._header
        defaults = {key: text for key, text in header.event_defaults.items() if key not in attributes} or NOTHING
        activity = attributes.get(self._activity_key) or defaults.get(self._activity_key) or UNNAMED
        if len(activity) > MAX_KEY:
            fix = f"Name activities in at most {MAX_KEY} characters."
            raise Fault(element.sourceline, "xes-size", f"{self._activity_key}: is too long", fix)
        stamp = attributes.get(self._time_key)
        try:
            time = None if stamp is None else log_time.iso(stamp)
        except ValueError:
            message = f"{self._time_key}: {stamp[:60]!r} is no time" if stamp else f"{self._time_key}: is empty"
            fix = "Write 2011-10-11T13:45:40.276+02:00."
            raise Fault(element.sourceline, "xes-date", message, fix) from None
        return LogEvent(
            case="",
            activity=activity,
            time=time,
            line=element.sourceline,
            attributes=attributes,
            defaults=defaults,
        )

    def _trace_attribute(self, trace: _Trace, child: Any) -> None:
        if self._tags.get(child.tag) == "event":
            return
        if not trace.open and self._flat.knows(child):
            fix = "Put the attributes of a trace before its events, as IEEE 1849 orders them."
            raise Fault(child.sourceline, "xes-order", f"an attribute follows {HOLD} events of its trace", fix)
        self._flat.add(child, trace.attributes)

    def _close_attributes(self, trace: _Trace) -> None:
        trace.open = False
        defaults = self._header.trace_defaults
        trace.defaults = {key: text for key, text in defaults.items() if key not in trace.attributes}
        key = self._case_key
        name = trace.attributes.get(key) or trace.defaults.get(key) or f"trace-{trace.number}"
        trace.case, again = name, 2
        while trace.case in self._names:  # two traces are two cases, whatever they are called
            trace.case, again = f"{name}~{again}", again + 1
        self._names.add(trace.case)

    def _release(self, trace: _Trace) -> Iterator[LogEvent]:
        for held in trace.held:
            first = trace.attributes or trace.defaults
            yield LogEvent(
                case=trace.case,
                activity=held.activity,
                time=held.time,
                line=held.line,
                attributes=held.attributes,
                defaults=held.defaults,
                case_attributes=trace.attributes if first else NOTHING,
                case_defaults=trace.defaults if first else NOTHING,
            )
            trace.attributes, trace.defaults = {}, {}  # on the first event only
        trace.held = []

    def _forget(self, element: Any) -> None:
        """Free an element that is done, and what stands before it on its level."""
        element.clear()
        parent = element.getparent()
        while element.getprevious() is not None:
            before = element.getprevious()
            if parent is self._root and before.tag not in self._tags and not self._flat.knows(before):
                self._flat.foreign(before)
            parent.remove(before)
