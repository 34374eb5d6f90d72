"""Runs a plan through the Admin port, one result per action.

Called by `bus.provision` for `agencybus topics apply`. Resumable: each action is complete in itself and a plan made
afterwards holds exactly what is left. The trap it avoids: a run that stops at the first refusal and tells nothing of
the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bus.errors import BusError, Unreachable
from bus.plan import Action, Plan
from bus.ports import Admin

Outcome = Literal["done", "skipped", "blocked", "failed", "unreachable", "not tried"]
Register = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an action: done, skipped (destructive and not allowed), blocked, failed, unreachable, not tried.

    `not tried` follows `unreachable`; running again continues there.
    """

    action: Action
    outcome: Outcome
    message: str = ""

    def as_json(self) -> dict[str, Any]:
        """The result as plain data for ``--json``."""
        return {**self.action.as_json(), "outcome": self.outcome, "message": self.message}


def apply(
    plan: Plan,
    admin: Admin,
    *,
    register: Register,
    allow_destructive: bool = False,
    report: Callable[[Result], None] | None = None,
) -> tuple[Result, ...]:
    """Do what `plan` says, in its order.

    Args:
        plan: from `bus.plan`.
        admin: changes topics.
        register: registers the schema of a topic; may raise BusError.
        allow_destructive: also do what loses, moves or endangers records.
        report: called after each action.
    """
    results: list[Result] = []
    lost: Unreachable | None = None
    for action in plan.actions:
        if lost is not None:
            result = Result(action, "not tried", lost.message)
        elif action.kind == "blocked":
            result = Result(action, "blocked", action.reason)
        elif action.destructive and not allow_destructive:
            result = Result(action, "skipped", f"{action.reason} Allow it with --allow-destructive.")
        else:
            try:
                _run(action, admin, register)
                result = Result(action, "done")
            except Unreachable as error:
                lost = error
                result = Result(action, "unreachable", error.message)
            except BusError as error:
                result = Result(action, "failed", error.message)
        results.append(result)
        if report is not None:
            report(result)
    return tuple(results)


def _run(action: Action, admin: Admin, register: Register) -> None:
    values: Mapping[str, str | None] = {change.setting: change.after for change in action.changes}
    if action.kind == "create":
        assert action.state is not None
        admin.create(action.state)
    elif action.kind == "alter":
        admin.alter(action.topic, values)
    elif action.kind == "grow":
        admin.add_partitions(action.topic, int(values["partitions"] or 0))
    elif action.kind == "delete":
        admin.delete(action.topic)
    else:
        register(action.topic)


def exit_code(results: tuple[Result, ...]) -> int:
    """0 all done, 3 something needs a person (skipped or blocked), 1 something failed, 4 the broker went away."""
    outcomes = {result.outcome for result in results}
    if "unreachable" in outcomes:
        return 4
    if "failed" in outcomes:
        return 1
    return 3 if outcomes & {"skipped", "blocked"} else 0
