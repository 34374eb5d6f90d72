"""From a process file to a graph that can run, or to every fault in it with its line and what to write instead.

Called by the worker, the demo, `workflow check` and `workflow draw`. The trap it avoids: a process that starts and then
stands still; whatever can be decided from the file and the event models is refused here.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path as FilePath

from agents import flow, timing
from agents.definition import RESERVED, Process
from agents.evaluate import CASE_FIELDS, Binding, Scope
from agents.gather import NEVER
from agents.graph import CASE_STEP, NOWHERE, Graph, Listen, Node, Stop, Wait
from agents.walk import Walk
from bus import document
from bus.document import Document
from bus.errors import CheckFailed
from schemas import names
from schemas.catalogue import Catalogue


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
    limit, late = NEVER, NOWHERE
    if process.deadline is not None:
        owner = walk.owner(process.owner, (), "the process, which has a deadline,")
        limit = walk.due(process.deadline, ("deadline",), scope)
        late = walk.late(process.deadline.late, CASE_STEP, owner, ("deadline",), scope)
    entry, behind, layout = walk.sequence(process.do, ("do",), scope, NOWHERE)
    if behind is not None:
        walk.fault("end-missing", "the process stops without an end.", ("do", len(process.do) - 1),
                   fix="Add a last step such as `- done: {end: completed}`.")  # fmt: skip
    if walk.findings:
        raise CheckFailed(sorted(set(walk.findings)))
    program = _finished(walk)
    waiters = _waiters(program, walk)
    head = f"{process.process} {process.opens_on} {opening} {process.time} {process.early} {limit.form} {late} {entry}"
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
        reach=flow.reach(program),
        keeps=flow.kept(program, walk.reads, late),
        due=limit.due,
        late=late,
        steps=walk.steps,
        layout=layout,
        agencies=walk.agencies,
        deadline="" if process.deadline is None else timing.limit(process.deadline),
    )


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
