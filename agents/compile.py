"""From a process file to a graph that can run, or to every fault in it with its line and what to write instead.

Called by the worker, the demo, `workflow check` and `workflow draw`. The trap it avoids: a process that starts and then
stands still; whatever can be decided from the file and the event models is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from hashlib import sha256
from operator import attrgetter
from pathlib import Path as FilePath
from typing import Any, assert_never

from pydantic import BaseModel

from agents import kinds, timing
from agents.definition import RESERVED, Process
from agents.evaluate import CASE_FIELDS, Binding, Scope
from agents.graph import (
    CASE_STEP,
    NOWHERE,
    Again,
    Due,
    Emit,
    End,
    Fork,
    Graph,
    Join,
    Json,
    Listen,
    Node,
    Repeat,
    Stop,
    Switch,
    Wait,
)
from agents.walk import Walk
from bus import document
from bus.document import Document
from bus.errors import CheckFailed
from schemas import names
from schemas.catalogue import Catalogue
from schemas.envelope import format_time
from schemas.event import Event

_PLAIN = frozenset({str, int, bool, float, type(None)})
_DIRECT = frozenset({"bool", "int", "text"})


def compile_file(path: str | FilePath, catalogue: Catalogue) -> Graph:
    """Compile the process at `path`.

    Raises:
        CheckFailed: with every fault found.
    """
    return compile_document(document.load(path, Process), catalogue)


def compile_document(source: Document[Process], catalogue: Catalogue) -> Graph:
    """Compile a process that was read already.

    Raises:
        CheckFailed: with every fault found.
    """
    process = source.value
    walk = Walk(source, catalogue)
    opening, scope = _opening(walk)
    due: Due | None = None
    due_form, late = "", NOWHERE
    if process.deadline is not None:
        owner = walk.owner(process.owner, (), "the process, which has a deadline,")
        due, due_form = walk.due(process.deadline, ("deadline",), scope)
        late = walk.late(process.deadline.late, CASE_STEP, owner, ("deadline",), scope)
    entry, behind, layout = walk.sequence(process.do, ("do",), scope, NOWHERE)
    if behind is not None:
        walk.fault("end-missing", "the process stops without an end.", ("do", len(process.do) - 1),
                   fix="Add a last step such as `- done: {end: completed}`.")  # fmt: skip
    if walk.findings:
        raise CheckFailed(sorted(set(walk.findings)))
    program = _finished(walk)
    waiters, reach = _waiters(program, walk), _reach(program)
    head = f"{process.process} {process.opens_on} {opening} {process.time} {process.early} {due_form} {late} {entry}"
    form = "\n".join([head, *(f"{address} {text}" for address, text in sorted(walk.form.items()))])
    return Graph(
        process=process.process,
        title=process.title,
        hash=sha256(form.encode()).hexdigest(),
        opens_on=process.opens_on,
        opening=opening,
        listens=frozenset({process.opens_on, *waiters}),
        emits=frozenset(walk.agencies),
        time=process.time,
        keeps_early=process.early == "keep",
        needs={topic: tuple(sorted(fields)) for topic, fields in walk.needs.items()},
        keeps_opening_time=opening in walk.timed,
        keeps_case=walk.uses_case,
        program=program,
        entry=entry,
        waiters=waiters,
        at={node.step: place for place, node in enumerate(program) if isinstance(node, Listen | Wait)},
        reach=reach,
        due=due,
        late=late,
        steps=walk.steps,
        layout=layout,
        agencies=walk.agencies,
        deadline="" if process.deadline is None else timing.limit(process.deadline),
    )


def extract(graphs: Sequence[Graph], topic: str, catalogue: Catalogue) -> Callable[[Event], dict[str, Json]]:
    """The function that takes from an event the fields that any of the processes needs, as JSON values.

    Args:
        graphs: the processes; several when old and new versions of one run side by side.
        topic: what one of them reads.
        catalogue: knows the topic's model.

    Raises:
        KeyError: when none of the processes reads the topic.
    """
    needs = [graph.needs[topic] for graph in graphs if topic in graph.needs]
    if not needs:
        raise KeyError(topic)
    paths = tuple(sorted({path for fields in needs for path in fields}))
    model = catalogue.topic(topic).model
    types = [kinds.of_path(model, path, path) for path in paths]
    plain = all(found.word in _DIRECT and not found.choices for found in types)
    if plain and len(paths) > 1 and not any("." in path for path in paths):
        read = attrgetter(*paths)  # with two names or more it gives a tuple
        return lambda event: dict(zip(paths, read(event), strict=True))
    split = tuple((path, tuple(path.split("."))) for path in paths)

    def fields(event: Event) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for path, parts in split:
            value: Any = event
            for part in parts:
                value = None if value is None else getattr(value, part)
            found[path] = value if type(value) in _PLAIN else _json(value)
        return found

    return fields


def _json(value: Any) -> Json:  # noqa: PLR0911  # one return per kind of value
    """A field's value as it stands in a case: time is RFC 3339 in UTC, date ISO 8601, Decimal text, enum its value."""
    match value:
        case datetime():
            return format_time(value)
        case date():
            return value.isoformat()
        case Decimal():
            return str(value)
        case Enum():
            return _json(value.value)
        case BaseModel():
            return {name: _json(getattr(value, name)) for name in type(value).model_fields}
        case dict():
            return {str(key): _json(part) for key, part in value.items()}
        case list() | tuple():
            return [_json(part) for part in value]
        case str() | int() | float() | None:
            return value
        case _:
            raise TypeError(f"a field of type {type(value).__name__} has no JSON form")


def _opening(walk: Walk) -> tuple[str, Scope]:
    """The name of the opening event and the scope the process starts with."""
    process = walk.document.value
    scope = Scope({"case": Binding("case", CASE_FIELDS)})
    found = walk.type_of(process.opens_on, ("opens_on",))
    if found is None:
        return "", scope
    opening = process.as_ or names.topic(process.opens_on).contract.rpartition(".")[2].replace("-", "_")
    if opening in RESERVED:
        walk.fault("reserved", f"{opening!r} is a word of the expression language.", ("as",), fix="Write another `as`.")
    walk.needs.setdefault(process.opens_on, set())
    return opening, scope.bind(opening, Binding(process.opens_on, found.model))


def _finished(walk: Walk) -> tuple[Node, ...]:
    """The program with no gap, each listen knowing whether its event's time is read."""
    program: list[Node] = []
    for node in walk.program:
        if isinstance(node, Listen) and node.bind in walk.timed:
            program.append(replace(node, keeps_time=True))
        else:
            program.append(Stop() if node is None else node)
    return tuple(program)


def _waiters(program: tuple[Node, ...], walk: Walk) -> dict[str, tuple[int, ...]]:
    """Topic -> listens, in the order of the file."""
    order = {name: place for place, name in enumerate(walk.steps)}
    found: dict[str, list[tuple[int, int]]] = {}
    for address, node in enumerate(program):
        if isinstance(node, Listen):
            found.setdefault(node.topic, []).append((order[node.step], address))
    return {topic: tuple(address for _, address in sorted(places)) for topic, places in found.items()}


def _next(node: Node) -> Iterable[int]:
    match node:
        case Switch():
            return [*(entry for _, entry in node.arms), *([] if node.otherwise == NOWHERE else [node.otherwise])]
        case Fork():
            return node.entries
        case Again():
            return (node.entry, node.next)
        case Repeat():
            return (node.entry,)
        case Listen() | Emit() | Join() | Wait():
            return (node.next,)
        case End() | Stop():
            return ()
    assert_never(node)  # a new kind of node must say what follows it, or `reach` would be wrong in silence


def _reach(program: tuple[Node, ...]) -> dict[str, frozenset[str]]:
    """Step that waits -> the topics of the listens that can come after it."""
    reach: dict[str, frozenset[str]] = {}
    for start in program:
        if not isinstance(start, Listen | Wait):
            continue
        seen: set[int] = set()
        todo = [start.next]
        while todo:
            address = todo.pop()
            if address not in seen:
                seen.add(address)
                todo.extend(_next(program[address]))
        later = (program[address] for address in seen)
        reach[start.step] = frozenset(node.topic for node in later if isinstance(node, Listen))
    return reach
