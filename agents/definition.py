"""A process as a designer writes it: one YAML file, read into these models before anything is compiled.

`agents.compile` reads them through `bus.document`, which knows the line of every value. Each step is one flat model
with a check of which keys go together, not a union of models: a union answers one wrong key with a page of faults.
The trap it avoids: a key that is silently ignored because it belongs to another kind of step.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""A step, a binding, a branch, an outcome, a process: what an expression can name."""

RESERVED = frozenset(
    {"case", "deadline", "and", "or", "not", "in", "is", "null", "true", "false"}
    | {"second", "seconds", "minute", "minutes", "hour", "hours", "day", "days"}
)
MAX_ROUNDS = 1_000_000

Number = Annotated[int, Field(ge=1, le=1_000_000_000)]
Kind = Literal["listen", "emit", "switch", "fork", "wait", "repeat", "end"]
KINDS: tuple[Kind, ...] = ("listen", "emit", "switch", "fork", "wait", "repeat", "end")
_ALLOWED: dict[str, frozenset[str]] = {
    "listen": frozenset({"as", "where", "owner", "deadline", "legal_basis", "replaces"}),
    "emit": frozenset({"with", "owner", "legal_basis", "replaces"}),
    "wait": frozenset({"owner", "legal_basis"}),
    "switch": frozenset(),
    "fork": frozenset(),
    "repeat": frozenset(),
    "end": frozenset(),
}


def _fault(kind: str, message: str, fix: str) -> PydanticCustomError:
    return PydanticCustomError(kind, message, {"fix": fix})


def _one_key(item: dict[str, Any]) -> dict[str, Any]:
    if len(item) != 1:
        names = ", ".join(item) or "nothing"
        raise _fault("step_name", f"a step is one name with its body, found {names}", "Write `- name: {listen: ...}`.")
    name = next(iter(item))
    if name in RESERVED:
        raise _fault("reserved", f"{name!r} is a word of the expression language", "Give the step another name.")
    return item


class Form(BaseModel):
    """Base: unknown keys are refused, nothing is coerced."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


Steps: TypeAlias = list[Annotated[dict[Name, "Body"], AfterValidator(_one_key)]]


class Span(Form):
    """A stretch of time. Units add up; working days stand alone."""

    days: Number | None = None
    """Days of 24 hours."""
    hours: Number | None = None
    """Hours of 60 minutes."""
    minutes: Number | None = None
    """Minutes, for what must answer at once."""
    seconds: Number | None = None
    """Seconds, for tests and simulations."""
    working_days: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Monday to Friday in UTC, at the same time of day; a start on a weekend counts as Monday 00:00."""

    @property
    def seconds_in_all(self) -> int:
        """The fixed units together, in seconds; 0 when none is given."""
        hours = 24 * (self.days or 0) + (self.hours or 0)
        return 3600 * hours + 60 * (self.minutes or 0) + (self.seconds or 0)

    def _choices(self) -> int:
        return (self.seconds_in_all > 0) + (self.working_days is not None)

    @model_validator(mode="after")
    def _one_way(self) -> Span:
        if self._choices() != 1:
            raise _fault(
                "span",
                "needs exactly one way to say when: days/hours/minutes/seconds, or working_days",
                "Write, for example, {days: 3} or {working_days: 5}.",
            )
        return self


class Late(Form):
    """What happens once when a deadline has passed; the step goes on waiting unless the case is ended."""

    emit: str | None = None
    """Topic to publish on. bus.deadline.missed.v1 fills process, step, owner and due by itself."""
    with_: dict[str, Any] | None = Field(default=None, alias="with")
    """Field -> literal or reference, as in an emit step."""
    do: Steps | None = None
    """Steps of kind emit, switch and end."""
    end: Name | None = None
    """Close the case with this outcome."""

    @model_validator(mode="after")
    def _one_thing(self) -> Late:
        if (self.emit is not None) + (self.do is not None) + (self.end is not None) != 1:
            raise _fault(
                "late",
                "needs exactly one of emit, do, end",
                "Write, for example, late: {emit: bus.deadline.missed.v1}.",
            )
        if self.with_ is not None and self.emit is None:
            raise _fault("late", "`with` belongs to emit", "Add emit, or remove `with`.")
        return self


class Deadline(Span):
    """Until when a step, or the whole case, has to be done."""

    at: str | None = None
    """An expression giving a time; a missing value means there is no deadline."""
    late: Late | None = None
    """What happens when it has passed."""

    def _choices(self) -> int:
        return super()._choices() + (self.at is not None)


def _deadline_tag(value: Any) -> str:
    return "none" if isinstance(value, str) else "deadline"


MaybeDeadline = Annotated[
    Annotated[Deadline, Tag("deadline")] | Annotated[Literal["none"], Tag("none")], Discriminator(_deadline_tag)
]


class Arm(Form):
    """One way through a switch: `when` with `do`, or `else` alone as the last."""

    when: str | bool | None = None
    """A condition; the first one that holds is taken."""
    do: Steps | None = None
    """What to do then; [] goes on after the switch."""
    else_: Steps | None = Field(default=None, alias="else")
    """What to do when no condition holds; [] goes on after the switch."""

    @model_validator(mode="after")
    def _shape(self) -> Arm:
        if self.else_ is not None and (self.when is not None or self.do is not None):
            raise _fault("arm", "`else` stands alone", "Write `- else: [steps]` as the last item.")
        if self.else_ is None and (self.when is None or self.do is None):
            raise _fault("arm", "needs `when` and `do`, or `else`", "Write `- when: condition` with `do: [steps]`.")
        return self


class Wait(Form):
    """Wait for a stretch of time, or until a time."""

    until: str | None = None
    """An expression giving a time; one in the past is passed at once."""
    for_: Span | None = Field(default=None, alias="for")
    """A stretch of time."""

    @model_validator(mode="after")
    def _one_way(self) -> Wait:
        if (self.until is None) == (self.for_ is None):
            raise _fault("wait", "needs exactly one of until, for", "Write wait: {for: {days: 3}}.")
        return self


class Repeat(Form):
    """Do the steps, then again until the condition holds or `max` rounds are done; then the process goes on."""

    until: str | bool
    """A condition, looked at after each round."""
    max: Annotated[int, Field(ge=1, le=MAX_ROUNDS)]
    """The most rounds there can be."""
    do: Annotated[Steps, Field(min_length=1)]
    """The steps of one round; each way through them must wait for an event or a stretch of time."""


class Body(Form):
    """A step: one of listen, emit, switch, fork, wait, repeat, end, with the keys that belong to it."""

    listen: str | None = None
    """Topic to wait for."""
    emit: str | None = None
    """Topic to publish on."""
    switch: Annotated[list[Arm], Field(min_length=1)] | None = None
    """Take the first arm whose condition holds."""
    fork: Annotated[dict[Name, Steps], Field(min_length=2)] | None = None
    """Do the named branches at the same time; goes on when all are done."""
    wait: Wait | None = None
    """Wait for time to pass."""
    repeat: Repeat | None = None
    """Do steps over and over."""
    end: Name | None = None
    """Close the whole case with this outcome."""
    as_: Name | None = Field(default=None, alias="as")
    """The name the event is bound to; the step's name if left out."""
    where: str | None = None
    """Take only events for which this condition holds."""
    with_: dict[str, Any] | None = Field(default=None, alias="with")
    """Field -> literal, reference (`name.field`) or expression (`= ...`)."""
    owner: str | None = None
    """The agency that answers for the step."""
    deadline: MaybeDeadline | None = None
    """Until when; the word none says that there is none on purpose."""
    legal_basis: str | None = None
    """The article it rests on."""
    replaces: list[str] = []
    """The papers nobody has to carry any more."""
    title: str | None = None
    """What the step does, in a few words."""

    @property
    def kind(self) -> Kind:
        """Which kind of step it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="after")
    def _one_kind(self) -> Body:
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none of them"
            raise _fault(
                "step_kind",
                f"a step is exactly one of {', '.join(KINDS)}; found {found}",
                "Make each a step of its own.",
            )
        given = {info.alias or name for name, info in type(self).model_fields.items() if name in self.model_fields_set}
        strange = sorted(given - _ALLOWED[kinds[0]] - {kinds[0], "title"})
        if strange:
            known = ", ".join(sorted({*_ALLOWED[kinds[0]], "title"}))
            raise _fault("step_key", f"{strange[0]!r} does not belong to {kinds[0]}", f"Keys of {kinds[0]}: {known}.")
        return self


class Process(Form):
    """A process definition."""

    process: Name
    """The name by which commands, topics and events know the process."""
    title: Annotated[str, Field(min_length=1, max_length=300)]
    """What it does, one sentence."""
    opens_on: str
    """The topic whose event opens a case; the case id is the event's correlation id."""
    as_: Name | None = Field(default=None, alias="as")
    """The name that event is bound to; the last word of its contract if left out."""
    time: Literal["append", "event"] = "append"
    """Whose clock counts: the broker's append time, or the time the fact happened (for recorded logs)."""
    early: Literal["keep", "refuse"] = "keep"
    """An event no step waits for yet is kept until its step is reached (at most 32), or refused."""
    owner: str | None = None
    """The agency that answers for the whole case; needed with `deadline`."""
    deadline: Deadline | None = None
    """The deadline of the whole case; set when it opens, dropped when it ends."""
    do: Annotated[Steps, Field(min_length=1)]
    """The steps, in order."""


for _model in (Late, Arm, Repeat, Body, Process):
    _model.model_rebuild()
