"""Walks a definition in the order of its file: builds the program and finds every fault on the way.

Called by `agents.compile`. The scope handed from step to step says which names are bound on every way that leads
there, so an expression can never read what a case may not have. The trap it avoids: stopping at the first fault; a
designer gets all of them, each with its line and what to write instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agents import evaluate, timing
from agents.definition import RESERVED, Arm, Body, Deadline, Late, Repeat, Wait
from agents.evaluate import DEADLINE_FIELDS, Binding, Checked, Scope
from agents.expression import Const
from agents.gather import NEVER, Gather, Limit, Loc, Spot, Waiting
from agents.graph import (
    CASE_STEP,
    NOWHERE,
    Again,
    Block,
    End,
    Fork,
    Guard,
    Join,
    Listen,
    Step,
    Stop,
    Switch,
)
from agents.graph import Repeat as RepeatNode
from agents.graph import Wait as WaitNode
from schemas.bus_events import DeadlineMissed

Items = Sequence[Mapping[str, Body]]
_LATE_KINDS = frozenset({"emit", "switch", "end"})


@dataclass(slots=True)
class Walk(Gather):
    """A walk that knows every kind of step."""

    _in_late: bool = False

    def sequence(self, items: Items, loc: Loc, scope: Scope, after: int) -> tuple[int, Scope | None, tuple[Block, ...]]:
        """Walk steps one after the other.

        Args:
            items: the steps.
            loc: where they stand.
            scope: what is bound before them.
            after: the address that follows.

        Returns:
            The address of the first, the scope behind the last (None when no way leads there), and the blocks.
        """
        addresses = [*(self.reserve() for _ in items), after]
        current: Scope | None = scope
        blocks: list[Block] = []
        for index, item in enumerate(items):
            name, body = next(iter(item.items()))
            place = (*loc, index, name)
            if current is None:
                self.fault("unreachable", f"{name} is never reached: the step before it ends the case.", place,
                           fix="Remove it, or move it before that step.")  # fmt: skip
                break
            current, block = self._step(body, Spot(name, place, current, addresses[index], addresses[index + 1]))
            blocks.append(block)
        return addresses[0], current, tuple(blocks)

    def due(self, deadline: Deadline, loc: Loc, scope: Scope) -> Limit:
        """When a deadline falls due; never, and a fault is noted, when its ``at`` is wrong.

        `loc` is the place of `deadline` in the file, `scope` what ``at`` can name.
        """
        if deadline.at is None:
            return Limit(timing.after(deadline), f"after {timing.words(deadline)}")
        part = self.time(deadline.at, (*loc, "at"), scope)
        return NEVER if part is None else Limit(timing.at(part), f"at {part.tree!r}", part.paths)

    def late(self, late: Late | None, step: str, owner: str, loc: Loc, scope: Scope) -> int:
        """The address of what a passed deadline does, NOWHERE when it does nothing.

        Args:
            late: what the definition says, None when nothing.
            step: whose deadline passed.
            owner: who answers for it.
            loc: place of the deadline in the file.
            scope: what is bound there; ``deadline`` is added.
        """
        if late is None:
            return NOWHERE
        loc = (*loc, "late")
        scope = scope.bind("deadline", Binding("deadline", DEADLINE_FIELDS))
        stop = self.put(self.reserve(), Stop(), "stop")
        if late.end is not None:
            return self.put(self.reserve(), End(step, late.end), f"end {late.end}")
        if late.emit is not None:
            found = self.type_of(late.emit, (*loc, "emit"))
            given = dict(late.with_ or {})
            if found is not None and found.model is DeadlineMissed:
                named = {"process": self.document.value.process, "step": step, "owner": owner, "due": "deadline.due"}
                given = {**named, **given}
            return self.emission(Spot(step, loc, scope, self.reserve(), stop), found, given)
        self._in_late = True
        entry, _, _ = self.sequence(late.do or [], (*loc, "do"), scope, stop)
        self._in_late = False
        return entry

    def _step(self, body: Body, spot: Spot) -> tuple[Scope | None, Block]:  # noqa: PLR0911  # one return per kind
        name, loc = spot.name, spot.loc
        if name in self.steps or name == CASE_STEP:
            line = self.steps[name].line if name in self.steps else 0
            self.fault("duplicate-step", f"{name} is the name of another step (line {line}).", loc,
                       fix="Give each step of the process its own name.")  # fmt: skip
        self.steps[name] = Step(
            kind=body.kind,
            title=body.title or name.replace("_", " "),
            owner=body.owner or "",
            legal_basis=body.legal_basis or "",
            replaces=tuple(body.replaces),
            line=self.document.line(*loc),
        )
        if self._in_late and body.kind not in _LATE_KINDS:
            self.fault("late", f"{name}: a passed deadline cannot {body.kind}.", loc, fix="Use emit, switch and end.")
        if body.listen is not None:
            return self._listen(body, body.listen, spot), Block(name)
        if body.emit is not None:
            return self._emit(body, body.emit, spot), Block(name)
        if body.wait is not None:
            return self._wait(body.wait, spot), Block(name)
        if body.end is not None:
            self.put(spot.here, End(name, body.end), f"end {body.end}")
            self.describe(name, waits_for="", title=body.title or f"end: {body.end}")
            return None, Block(name)
        if body.switch is not None:
            return self._switch(body.switch, spot)
        if body.fork is not None:
            return self._fork(body.fork, spot)
        assert body.repeat is not None
        return self._repeat(body.repeat, spot)

    def _listen(self, body: Body, topic: str, spot: Spot) -> Scope:
        name, loc, scope = spot.name, spot.loc, spot.scope
        found = self.type_of(topic, (*loc, "listen"))
        owner = self.owner(body.owner, loc, name)
        bind = body.as_ or name
        if bind in scope.names or bind in RESERVED:
            self.fault("shadowing", f"{bind!r} already names something else here.", loc,
                       fix="Bind the event to another name with `as`.")  # fmt: skip
        limit, late = self._deadline(name, body, owner, loc, scope)
        if found is None:
            return scope
        inside = scope.bind(bind, Binding(topic, found.model))
        where = None if body.where is None else self.condition(body.where, (*loc, "where"), inside)
        self.listens.append(Waiting(topic, body.where is not None, loc))
        self.needs.setdefault(topic, set())
        guard = None if where is None else where.guard()
        form = f"listen {name} {topic} {bind} {where.tree if where else None!r} {limit.form} {late} {spot.after}"
        node = Listen(name, topic, bind, guard, False, limit.due, late, spot.after)  # noqa: FBT003  # set at the end
        self.put(spot.here, node, form, limit.reads if where is None else limit.reads | where.paths)
        self.describe(name, topic=topic, waits_for=f"{found.model.contract.replace('.', ' ')} from {found.agency}")
        return inside if where is None else inside.knowing(evaluate.present_if(where.tree, holds=True))

    def _deadline(self, name: str, body: Body, owner: str, loc: Loc, scope: Scope) -> tuple[Limit, int]:
        deadline = body.deadline
        loc = (*loc, "deadline")
        if deadline is None:
            if self.document.value.deadline is None:
                self.fault("deadline-missing", f"{name} may wait for ever.", loc,
                           fix="Add `deadline: {working_days: 5, late: {emit: bus.deadline.missed.v1}}`, "
                               "or `deadline: none` if that is meant.")  # fmt: skip
            return NEVER, NOWHERE
        if not isinstance(deadline, Deadline):
            return NEVER, NOWHERE
        self.describe(name, deadline=timing.limit(deadline))
        return self.due(deadline, loc, scope), self.late(deadline.late, name, owner, loc, scope)

    def _emit(self, body: Body, topic: str, spot: Spot) -> Scope:
        name, loc, scope = spot.name, spot.loc, spot.scope
        found = self.type_of(topic, (*loc, "emit"))
        if body.owner is not None:
            self.owner(body.owner, loc, name)
        self.emission(spot, found, body.with_ or {})
        if found is not None:
            self.describe(name, topic=topic, owner=body.owner or found.agency)
        return scope

    def _wait(self, wait: Wait, spot: Spot) -> Scope:
        name, loc, scope, here, after = spot.name, spot.loc, spot.scope, spot.here, spot.after
        if wait.for_ is not None:
            text = f"{timing.words(wait.for_)} to pass"
            self.put(here, WaitNode(name, timing.after(wait.for_), after), f"wait {name} {wait.for_!r} {after}")
        else:
            assert wait.until is not None
            text = wait.until
            part = self.time(wait.until, (*loc, "wait", "until"), scope)
            if part is None:
                return scope
            if part.type.nullable:
                self.fault("wait", f"{wait.until} may be missing, and the case would wait for ever.", (*loc, "wait"),
                           fix=f"Ask before, in a switch: `when: {wait.until} is null`.")  # fmt: skip
            self.put(here, WaitNode(name, timing.at(part), after), f"wait {name} {part.tree!r} {after}", part.paths)
        self.describe(name, waits_for=text)
        return scope

    def _switch(self, arms: Sequence[Arm], spot: Spot) -> tuple[Scope | None, Block]:
        name, loc, scope = spot.name, (*spot.loc, "switch"), spot.scope
        ways: list[Scope] = []
        inner: list[tuple[str, tuple[Block, ...]]] = []
        guards: list[tuple[Guard, int]] = []
        conditions: list[Checked] = []
        otherwise = NOWHERE
        rest = scope
        form: list[str] = []
        for index, arm in enumerate(arms):
            place = (*loc, index)
            if arm.else_ is not None:
                if index < len(arms) - 1:
                    self.fault("switch-else", "else is not the last arm.", place, fix="Move else to the end.")
                otherwise, behind, blocks = self.sequence(arm.else_, (*place, "else"), rest, spot.after)
                inner.append(("else", blocks))
            else:
                assert arm.when is not None
                part = self.condition(_text(arm.when), (*place, "when"), rest)
                inside = rest if part is None else rest.knowing(evaluate.present_if(part.tree, holds=True))
                entry, behind, blocks = self.sequence(arm.do or [], (*place, "do"), inside, spot.after)
                inner.append((str(arm.when), blocks))
                if part is not None:
                    rest = rest.knowing(evaluate.present_if(part.tree, holds=False))
                    conditions.append(part)
                    guards.append((part.guard(), entry))
                    form.append(f"{part.tree!r} -> {entry}")
            if behind is not None:
                ways.append(behind)
        reads = frozenset(path for part in conditions for path in part.paths)
        self.put(spot.here, Switch(tuple(guards), otherwise), f"switch {form} {otherwise}", reads)
        if len(conditions) == sum(arm.when is not None for arm in arms):
            self._coverage(name, arms, conditions, scope, loc)
        return (Scope.merged(ways) if ways else None), Block(name, tuple(inner))

    def _coverage(self, name: str, arms: Sequence[Arm], conditions: list[Checked], scope: Scope, loc: Loc) -> None:
        """Check that the arms cover every value and that each can be taken."""
        has_else = any(arm.else_ is not None for arm in arms)
        found = evaluate.uncovered(conditions, scope)
        fix = "Add `- else: [steps]` as the last arm; `- else: []` goes on after the switch."
        if found is None:
            if not has_else:
                self.fault("switch-else", f"{name}: no arm may hold.", loc, fix=fix)
            return
        example, idle = found
        if example is not None and not has_else:
            self.fault("switch-else", f"{name}: no arm holds when {example}.", loc, fix=fix)
        if example is None and has_else:
            self.fault("unreachable", f"{name}: the arms before cover every value, else is never taken.",
                       (*loc, len(arms) - 1), fix="Remove else, or an arm.")  # fmt: skip
        places = [place for place, arm in enumerate(arms) if arm.when is not None]
        for index in idle:
            place = (*loc, places[index])
            self.fault(
                "unreachable",
                f"{name}: an arm never taken, those before cover it.",
                place,
                fix="Remove it, or move it up.",
            )

    def _fork(self, branches: Mapping[str, Items], spot: Spot) -> tuple[Scope | None, Block]:
        name, loc, scope = spot.name, (*spot.loc, "fork"), spot.scope
        join = self.put(self.reserve(), Join(name, spot.after), f"join {name} {spot.after}")
        entries: list[int] = []
        inner: list[tuple[str, tuple[Block, ...]]] = []
        behind: Scope | None = scope
        before: list[Waiting] = []
        for label, items in branches.items():
            place = (*loc, label)
            if not items:
                self.fault("fork-empty", f"branch {label} has no steps.", place, fix="Remove it, or give it steps.")
            first = len(self.listens)
            entry, end, blocks = self.sequence(items, place, scope, join)
            entries.append(entry)
            inner.append((label, blocks))
            self._competing(before, self.listens[first:])
            before += self.listens[first:]
            behind = None if behind is None or end is None else self._both(behind, end, scope, place)
        self.put(spot.here, Fork(name, tuple(entries)), f"fork {name} {entries}")
        return behind, Block(name, tuple(inner))

    def _competing(self, before: list[Waiting], now: list[Waiting]) -> None:
        """Two branches that wait for one topic must say which event is whose."""
        for waiting in now:
            for other in before:
                if other.topic == waiting.topic and not (other.guarded and waiting.guarded):
                    self.fault("competing-listen", f"another branch waits for {waiting.topic} too "
                               f"(line {self.document.line(*other.loc)}).", waiting.loc,
                               fix="Add `where` to both, so that each event has one taker.")  # fmt: skip
                    break

    def _both(self, behind: Scope, end: Scope, start: Scope, loc: Loc) -> Scope:
        """What is known once two branches are done."""
        fresh = {name: binding for name, binding in end.names.items() if name not in start.names}
        for name in fresh.keys() & behind.names.keys():
            self.fault(
                "shadowing", f"{name!r} is bound in two branches.", loc, fix="Bind one to another name with `as`."
            )
        return Scope({**behind.names, **fresh}, behind.present | end.present)

    def _repeat(self, loop: Repeat, spot: Spot) -> tuple[Scope | None, Block]:
        name, loc, scope = spot.name, (*spot.loc, "repeat"), spot.scope
        again = self.reserve()
        entry, behind, blocks = self.sequence(loop.do, (*loc, "do"), scope, again)
        self.put(spot.here, RepeatNode(name, entry), f"repeat {name} {entry}")
        if not _pauses(loop.do):
            self.fault("repeat-spins", f"{name} can go round without waiting for anything.", loc,
                       fix="Put a listen, or a wait with `for`, on each way through its steps.")  # fmt: skip
        if behind is None:
            self.fault("unreachable", f"{name} never goes round: its steps end the case.", (*loc, "until"),
                       fix="Write the steps without repeat.")  # fmt: skip
        else:
            part = self.condition(_text(loop.until), (*loc, "until"), behind)
            until: Callable[..., bool] = (lambda _: True) if part is None else part.guard()
            shown = None if part is None else part.tree
            self.put(
                again,
                Again(name, until, loop.max, entry, spot.after),
                f"again {shown!r} {loop.max} {entry} {spot.after}",
                frozenset() if part is None else part.paths,
            )
        return behind, Block(name, ((f"until {loop.until}", blocks),))


def _text(written: str | bool) -> str | Const:  # noqa: FBT001  # `when: true` is as good as `when: "true"`
    return Const(written) if isinstance(written, bool) else written


def _pauses(items: Items) -> bool:
    """Whether each way through the steps waits for an event or a stretch of time, or ends the case."""
    for item in items:
        body = next(iter(item.values()))
        if body.listen is not None or body.end is not None or (body.wait is not None and body.wait.for_ is not None):
            return True
        if body.fork is not None and any(_pauses(branch) for branch in body.fork.values()):
            return True
        if body.repeat is not None and _pauses(body.repeat.do):
            return True
        if body.switch is not None:
            ways = [arm.else_ if arm.else_ is not None else arm.do or [] for arm in body.switch]
            if all(_pauses(way) for way in ways):
                return True
    return False
