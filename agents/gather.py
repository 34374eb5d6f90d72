"""What a walk over a definition gathers: the program, what the steps are called, what a case keeps, and every fault.

`agents.walk` is built on it. The trap it avoids: a check that forgets to say where: every fault is noted with its
place in the file, and comes out as a Finding with the line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from agents import evaluate, mapping
from agents.definition import Process
from agents.evaluate import Checked, Scope
from agents.expression import Const, ExpressionFault, Path, Tree, parse
from agents.graph import Due, Emit, Node, Step
from bus.document import Document
from bus.errors import Finding
from schemas import names
from schemas.catalogue import Catalogue, EventType
from schemas.errors import NameRefused, UnknownType

Loc = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A listen met on the walk, for the check of branches that wait for the same topic."""

    topic: str
    guarded: bool
    loc: Loc


@dataclass(frozen=True, slots=True)
class Spot:
    """Where the walk stands.

    Args:
        name: the step. loc: its place in the file. scope: what is bound before it.
        here: the address of its first node. after: the address that follows the step.
    """

    name: str
    loc: Loc
    scope: Scope
    here: int
    after: int


class Limit(NamedTuple):
    """When something falls due.

    Args:
        due: as a function, None: never. form: the same as text, for the content hash. reads: the paths it reads.
    """

    due: Due | None
    form: str
    reads: frozenset[Path] = frozenset()


NEVER = Limit(None, "")


@dataclass(slots=True)
class Gather:
    """One walk over one definition.

    Args:
        document: the file.
        catalogue: the event types there are.

    What is gathered: `findings`; the `program`, its `form` (address -> what the node does, as text, for the content
    hash) and its `reads` (address -> the paths its expressions read); `steps`; `needs` (topic -> field paths); `timed`
    (names whose event time is read); `uses_case`; `agencies` (emitted topic -> owner); `listens` in order.
    """

    document: Document[Process]
    catalogue: Catalogue
    findings: list[Finding] = field(default_factory=list)
    program: list[Node | None] = field(default_factory=list)
    form: dict[int, str] = field(default_factory=dict)
    reads: dict[int, frozenset[Path]] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    needs: dict[str, set[str]] = field(default_factory=dict)
    timed: set[str] = field(default_factory=set)
    uses_case: bool = False
    agencies: dict[str, str] = field(default_factory=dict)
    listens: list[Waiting] = field(default_factory=list)

    def fault(self, rule: str, message: str, loc: Loc, *, fix: str) -> None:
        """Note a fault; the walk goes on.

        Args:
            rule: name of the rule.
            message: what is wrong.
            loc: the place in the file.
            fix: what to do about it.
        """
        self.findings.append(self.document.finding(rule, message, *loc, fix=fix))

    def type_of(self, topic: str, loc: Loc) -> EventType | None:
        """The event type of a topic, noting a fault when there is none."""
        try:
            return self.catalogue.topic(topic)
        except UnknownType as unknown:
            self.fault("unknown-type", f"{unknown}".rstrip(".") + ".", loc, fix="Write a topic of the catalogue.")
            return None

    def use(self, paths: frozenset[Path], scope: Scope) -> None:
        """Note what a case has to keep so that these paths can be read."""
        for path in paths:
            binding = scope.names[path.name]
            if binding.source == "case":
                self.uses_case = True
            elif binding.source == "deadline":
                continue
            elif path.field == "time" and "time" not in getattr(binding.fields, "model_fields", {}):
                self.timed.add(path.name)
            else:
                self.needs.setdefault(binding.source, set()).add(path.field)

    def owner(self, owner: str | None, loc: Loc, what: str) -> str:
        """Return an owner, empty and with a fault noted when it is missing or no agency.

        Args:
            owner: as written, None when missing.
            loc: of what it belongs to.
            what: names that in the message.
        """
        if owner is None:
            self.fault("owner-missing", f"{what} has no owner.", loc, fix="Add `owner: <agency>`: who answers for it.")
            return ""
        try:
            return names.agency(owner)
        except NameRefused as refused:
            self.fault("owner", f"{refused}.", (*loc, "owner"), fix="Write the agency's name, such as justice.")
            return ""

    def reserve(self) -> int:
        """The address of a node that is put later."""
        self.program.append(None)
        return len(self.program) - 1

    def put(self, address: int, node: Node, form: str, reads: frozenset[Path] = frozenset()) -> int:
        """Put a node; returns the address.

        Args:
            address: reserved before.
            node: what happens there.
            form: the same as text, for the content hash.
            reads: the paths its expressions read.
        """
        self.program[address] = node
        self.form[address] = form
        self.reads[address] = reads
        return address

    def describe(self, name: str, **facts: Any) -> None:
        """Add to what people want to know of a step."""
        self.steps[name] = replace(self.steps[name], **facts)

    def time(self, text: str, loc: Loc, scope: Scope) -> Checked | None:
        """An expression that must give a time, None when it does not and the fault is noted.

        Args:
            text: the expression.
            loc: its place in the file.
            scope: what it can name.
        """
        part = self._checked(text, loc, scope, condition=False)
        if part is not None and part.type.word != "time":
            self.fault("expression", f"{text} is {part.type}, not a time.", loc, fix="Use a field with a time of day.")
            return None
        return part

    def condition(self, text: str | Const, loc: Loc, scope: Scope) -> Checked | None:
        """An expression that must be a condition, None when it is not and the fault is noted.

        Args:
            text: the expression, or a constant YAML gave.
            loc: its place in the file.
            scope: what it can name.
        """
        return self._checked(text, loc, scope, condition=True)

    def emission(self, spot: Spot, found: EventType | None, given: Mapping[str, Any]) -> int:
        """Put an emit node at `spot.here`, noting what is wrong with its mapping; returns that address.

        Args:
            spot: where the walk stands.
            found: the event's type, None when its name was at fault.
            given: the fields under ``with``: literal, reference or expression.
        """
        if found is None:
            return spot.here
        built = mapping.build(found.model, given, spot.scope)
        if isinstance(built, list):
            for fault in built:
                place = (*spot.loc, "with", fault.field) if fault.field else (*spot.loc, "emit")
                self.fault("mapping", f"{fault.message}.", place, fix=fault.fix)
            return spot.here
        self.use(built.paths, spot.scope)
        self.agencies[found.topic] = found.agency
        node = Emit(spot.name, found.topic, found.agency, built.fill, spot.after)
        form = f"emit {spot.name} {found.topic} {built.form} {spot.after}"
        return self.put(spot.here, node, form, built.paths)

    def _checked(self, text: str | Const, loc: Loc, scope: Scope, *, condition: bool) -> Checked | None:
        try:
            tree: Tree = text if isinstance(text, Const) else parse(text)
            part = evaluate.condition(tree, scope) if condition else evaluate.check(tree, scope)
        except ExpressionFault as fault:
            self.fault("expression", f"{fault.message}.", loc, fix=fault.fix)
            return None
        self.use(part.paths, scope)
        return part
