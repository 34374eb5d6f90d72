"""What can still happen from a place of the program on: which topics are heard, what a waiting case may still read.

Called by `agents.compile` once per process; `agents.machine` keeps early events by the first and forgets by the second.
A field is kept while a way through the program leads to a guard, a mapping or a deadline that reads it, unless its name
is bound anew before (data minimisation). The trap it avoids: data of a person that stands in the case log for months
after its last reader has run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import assert_never

from agents.expression import Path
from agents.graph import (
    CASE_STEP,
    DEADLINE_BINDING,
    NOWHERE,
    Again,
    Emit,
    End,
    Fork,
    Join,
    Kept,
    Listen,
    Node,
    Repeat,
    Stop,
    Switch,
    Wait,
)

Reads = Mapping[int, frozenset[Path]]
"""Address -> the paths its node reads."""


def reach(program: Sequence[Node]) -> dict[str, frozenset[str]]:
    """Step that waits -> the topics of the listens that can come after it."""
    found: dict[str, frozenset[str]] = {}
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
        found[start.step] = frozenset(node.topic for node in later if isinstance(node, Listen))
    return found


def kept(program: Sequence[Node], reads: Reads, late: int) -> dict[str, Kept]:
    """By step that waits, and `CASE_STEP` for the deadline of the whole case, what may still be read.

    Args:
        program: the nodes.
        reads: what each of them reads.
        late: address of what the deadline of the whole case does, or NOWHERE.
    """
    ahead = _ahead(program, reads)
    found = {node.step: _by_name(ahead[place]) for place, node in enumerate(program) if isinstance(node, Listen | Wait)}
    return {**found, CASE_STEP: {} if late == NOWHERE else _by_name(ahead[late])}


def _ahead(program: Sequence[Node], reads: Reads) -> list[frozenset[Path]]:
    """What may be read from each address on; loops are gone round until nothing is added."""
    ahead = [reads.get(place, frozenset()) for place in range(len(program))]
    grew = True
    while grew:
        grew = False
        for place in reversed(range(len(program))):
            node = program[place]
            found = ahead[place].union(*(ahead[after] for after in _next(node)))
            if isinstance(node, Listen):
                found = frozenset(path for path in found if path.name != node.bind)
                if node.late != NOWHERE:
                    found |= ahead[node.late]  # runs while the step waits: its `bind` is that of a round before
            if found != ahead[place]:
                ahead[place] = found
                grew = True
    return ahead


def _by_name(paths: Iterable[Path]) -> Kept:
    found: dict[str, set[str]] = {}
    for path in paths:
        if path.name != DEADLINE_BINDING:  # made when it passes
            found.setdefault(path.name, set()).add(path.field)
    return {name: frozenset(fields) for name, fields in found.items()}


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
    assert_never(node)  # a new kind of node must say what follows it, or what is found here is wrong in silence
