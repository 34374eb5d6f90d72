"""From a file to a graph: the hash, the processes we ship."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import agents
from agents import machine
from agents.compile import compile_file
from agents.extract import extract
from agents.machine import Arrival, Rejected
from bus.errors import CheckFailed
from schemas.catalogue import standard
from schemas.recorded import ActivityRecorded
from tests.agents.process_support import (
    ANSWER,
    CATALOGUE,
    END,
    compiled,
    definition,
    findings,
    from_text,
    listen,
)

PROCESSES = Path(agents.__file__).parent / "processes"
STEPS = [{"got": listen("b")}, {"tell": {"emit": ANSWER, "with": {"number": "got.number"}}}, END]


def test_comments_titles_and_layout_do_not_change_the_hash_but_behaviour_does() -> None:
    graph = compiled(STEPS)
    laid_out = from_text("# a comment\n" + json.dumps(definition(STEPS, title="Another title"), indent=3))
    assert graph.hash == laid_out.hash
    changed = [
        compiled([{"got": listen("c")}, *STEPS[1:]]),
        compiled([{"got": listen("b", where="got.flag")}, *STEPS[1:]]),
        compiled([{"got": listen("b", deadline={"days": 1})}, *STEPS[1:]]),
        compiled([STEPS[0], {"tell": {"emit": ANSWER, "with": {"number": 2}}}, END]),
        compiled(STEPS, early="refuse"),
        compiled(STEPS, time="event"),
        compiled(STEPS, owner="z", deadline={"days": 1}),
    ]
    assert len({graph.hash, *(other.hash for other in changed)}) == len(changed) + 1


def test_the_file_at_fault_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("process: [", encoding="utf-8")
    with pytest.raises(CheckFailed) as caught:
        compile_file(path, CATALOGUE)
    assert caught.value.findings[0].file == str(path)


HOSTILE = [
    b"",
    b"\x00\x01\x02",
    "process: \u00e9".encode("latin-1"),
    b"process: p",
    b"- a\n- b",
    b"process: &a [*a]",
    b"a: &a [x, x]\nb: [*a, *a]",
    b"process: p\ntitle: t\nopens_on: a.thing.done.v1\ndo: []",
    b"process: p\ntitle: t\nopens_on: 3\ndo: x",
    b"process: p\ntitle: t\nopens_on: a.thing.done.v1\ndo: [{x: {end: y, listen: z}}]",
    b"process: p\ntitle: t\nopens_on: a.thing.done.v1\ndo: [{x: {repeat: {until: a.b, do: []}}}]",
    b"do: " + b"[" * 5000,
    b"title: " + b"x" * (1 << 20),
    b"!!python/object/apply:os.system ['true']",
]


@pytest.mark.parametrize("raw", HOSTILE, ids=range(len(HOSTILE)))
def test_a_malformed_file_gives_findings_and_nothing_else(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(raw)
    with pytest.raises(CheckFailed) as caught:
        compile_file(path, CATALOGUE)
    assert all(finding.message and finding.rule for finding in caught.value.findings)


BIRTH = (PROCESSES / "birth.yaml").read_text(encoding="utf-8")


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(BIRTH) - 1), st.integers(0, 40), st.text(max_size=5))
def test_a_damaged_process_is_right_or_found_wrong(place: int, cut: int, inserted: str) -> None:
    findings(BIRTH[:place] + inserted + BIRTH[place + cut :])


def test_the_recorded_process_follows_a_case_to_its_last_event_and_tells_one_breach() -> None:
    graph = compile_file(PROCESSES / "recorded.yaml", standard())
    take = extract([graph], "replay.activity.recorded.v1", standard())

    def recorded(sequence: int, at: int, *, last: bool) -> Arrival:
        deadline = datetime(2026, 3, 1, tzinfo=UTC) if sequence == 1 else None
        event = ActivityRecorded(run="r", activity=f"act {sequence}", sequence=sequence, last=last, deadline=deadline)
        day = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp() * 1_000_000)
        return Arrival(
            "r:1",
            "replay.activity.recorded.v1",
            0,
            sequence,
            f"{sequence:016x}",
            f"e{sequence}",
            day + at,
            take(vars(event)),
        )

    case, emits = machine.step(graph, None, recorded(1, -5, last=False))
    assert json.loads(bytes(emits[0].data)) == {"run": "r", "activity": "act 1", "sequence": 1, "last": False}
    case, emits = machine.step(graph, case, recorded(2, 0, last=False))
    assert [e.topic for e in emits] == ["replay.activity.followed.v1"]
    case, emits = machine.step(graph, case, recorded(3, 1, last=False))
    assert [e.topic for e in emits] == ["bus.deadline.missed.v1", "replay.activity.followed.v1"]
    case, emits = machine.step(graph, case, recorded(4, 2, last=True))
    assert case.outcome == "completed"
    with pytest.raises(Rejected, match="closed"):
        machine.step(graph, case, recorded(5, 3, last=False))
    single, emits = machine.step(graph, None, recorded(1, 1, last=True))
    assert single.outcome == "completed"
    assert [e.topic for e in emits] == ["bus.deadline.missed.v1", "replay.activity.followed.v1"]


def _birth(name: str, agency: str, at: int, **fields: object) -> Arrival:
    topic = f"{agency}.{name}.v1"
    return Arrival("b1", topic, 0, at, f"{agency[:4]}{at:012x}", f"{agency}-{at}", at * 1_000_000, fields)  # type: ignore[arg-type]


def test_the_birth_process_carries_a_live_birth_and_closes_a_stillbirth() -> None:
    graph = compile_file(PROCESSES / "birth.yaml", standard())
    registered = {"stillbirth": False, "person": "AZE1234", "mother": "AZE0001", "record_number": "R-17"}
    case, _ = machine.step(graph, None, _birth("birth.notified", "health", 1))
    still, _ = machine.step(graph, case, _birth("birth.registered", "justice", 2, **{**registered, "stillbirth": True}))
    assert still.outcome == "stillbirth"
    case, emits = machine.step(graph, case, _birth("birth.registered", "justice", 2, **registered))
    request = standard().topic(emits[0].topic).model.model_validate_json(bytes(emits[0].data))
    assert request.model_dump()["subject"] == "AZE1234"
    assert set(case.active) == {"id_entry", "assigned"}
    case, _ = machine.step(graph, case, _birth("benefit.assigned", "social-fund", 3))
    case, _ = machine.step(graph, case, _birth("identity.entered", "interior", 4))
    assert case.outcome == "completed"
    assert all(step.owner for step in graph.steps.values() if step.kind in {"listen", "emit"})
