"""What has become of letters: a fold that conserves them, whatever was done, undone, repeated or cut short."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bus.ledger import Ledger, Selection, State, in_order
from bus.letters import Letter
from bus.message import Partition
from schemas.bus_events import OperatorAct, OperatorActed
from tests.bus.test_letters import FAILURE, NOW, RECORD, letter

LETTERS = [
    letter(
        structs.replace(RECORD, offset=n, partition=n % 3, topic=f"portal.note.written.v{1 + n % 2}"), group="gh"[n % 2]
    )
    for n in range(12)
]


def acted(
    act: OperatorAct, action: int, ids: list[str], *, group: str = "g", undone: int | None = None
) -> OperatorActed:
    return OperatorActed(
        action=f"{action:016x}",
        act=act,
        group=group,
        part=1,
        planned=len(ids),
        letters=ids,
        by="test",
        undone=None if undone is None else f"{undone:016x}",
    )


def ledger(*acts: OperatorActed, letters: list[Letter] = LETTERS) -> Ledger:
    return Ledger(letters, [(NOW + timedelta(seconds=n), said) for n, said in enumerate(acts)])


acts = st.builds(
    acted,
    st.sampled_from(OperatorAct),
    st.integers(0, 5),
    st.lists(st.sampled_from([one.id for one in LETTERS] + ["f" * 16]), max_size=5),
    group=st.sampled_from(["g", "h"]),
    undone=st.none() | st.integers(0, 5),
)


@given(st.lists(acts, max_size=12), st.lists(st.sampled_from(LETTERS), max_size=20))
def test_open_redriven_and_dropped_always_add_up_to_all(done: list[OperatorActed], repeated: list[Letter]) -> None:
    found = ledger(*done, letters=[*LETTERS, *repeated])
    assert sum(found.counts().values()) == len(LETTERS)
    assert sum(sum(tally.counts.values()) for tally in found.tallies(LETTERS)) == len(LETTERS)
    assert ledger(*done, *done).counts() == found.counts() or any(a.act is OperatorAct.UNDO for a in done)


def test_an_undone_action_counts_as_if_it_had_never_been() -> None:
    one = LETTERS[0]
    redriven = acted(OperatorAct.REDRIVE, 1, [one.id])
    dropped = acted(OperatorAct.DROP, 2, [one.id])
    assert ledger(redriven).state(one) is State.REDRIVEN
    assert ledger(redriven, dropped).state(one) is State.DROPPED
    assert ledger(redriven, dropped, acted(OperatorAct.UNDO, 3, [], undone=2)).state(one) is State.REDRIVEN
    undone = ledger(redriven, acted(OperatorAct.UNDO, 3, [one.id], undone=1))
    assert undone.state(one) is State.OPEN
    assert [action.undone for action in undone.actions.values()] == [True, False]


def test_an_undo_of_another_group_s_part_changes_nothing_here() -> None:
    one = LETTERS[0]
    found = ledger(acted(OperatorAct.DROP, 1, [one.id]), acted(OperatorAct.UNDO, 2, [], group="h", undone=1))
    assert found.state(one) is State.DROPPED


def test_what_was_done_to_parked_records_changes_no_letter() -> None:
    one = LETTERS[0]
    assert ledger(acted(OperatorAct.RELEASE, 1, [one.id])).state(one) is State.OPEN


def test_the_parts_of_an_action_are_one_action() -> None:
    found = ledger(*(acted(OperatorAct.DROP, 1, [one.id]) for one in LETTERS[:4]))
    (action,) = found.actions.values()
    assert list(action.letters) == [one.id for one in LETTERS[:4]]
    assert action.as_json()["letters"] == 4


def test_all_that_is_given_must_hold_for_a_selected_letter() -> None:
    one = LETTERS[0]
    assert Selection().takes(one)
    assert Selection(ids=frozenset({one.id}), causes=frozenset({one.cause.id})).takes(one)
    assert not Selection(ids=frozenset({one.id}), topics=frozenset({"another"})).takes(one)
    found = ledger(acted(OperatorAct.DROP, 1, [one.id]))
    assert one not in found.chosen(Selection(), State.OPEN)
    assert len(found.chosen(Selection())) == len(LETTERS)


def test_the_cause_with_most_open_letters_comes_first_and_its_sample_is_open() -> None:
    few = [letter(structs.replace(RECORD, offset=n), replace(FAILURE, error="Few")) for n in range(2)]
    many = [letter(structs.replace(RECORD, offset=9 + n), replace(FAILURE, last=NOW + timedelta(n))) for n in range(3)]
    found = ledger(acted(OperatorAct.DROP, 1, [many[2].id]), letters=[*few, *many])
    first, second = found.tallies(found.letters.values())
    assert (first.cause.error, first.counts[State.OPEN], first.sample) in {
        ("Poison", 2, many[1].id),
        ("Few", 2, few[-1].id),
    }
    assert second.counts[State.OPEN] == 2
    (poison,) = [tally for tally in (first, second) if tally.cause.error == "Poison"]
    assert (poison.oldest, poison.newest, poison.sample) == (NOW, NOW + timedelta(2), many[1].id)


def test_a_record_is_given_back_once_whatever_letters_of_it_are_chosen() -> None:
    first, again = letter(), letter(redrive=1)
    found = ledger(letters=[first, again])
    (job,) = found.jobs([first, again])
    assert (job.letter, set(job.covers), job.redrive) == (again, {first.id, again.id}, 2)


@pytest.mark.parametrize("undone", [False, True])
def test_each_redrive_of_a_record_has_a_number_of_its_own(undone: bool) -> None:
    one = letter()
    before = [acted(OperatorAct.REDRIVE, 1, [one.id])]
    before += [acted(OperatorAct.UNDO, 2, [], undone=1)] * undone
    (job,) = ledger(*before, letters=[one]).jobs([one])
    assert job.redrive == 2


@given(st.permutations(LETTERS))
def test_letters_leave_in_the_order_of_their_topic(mixed: list[Letter]) -> None:
    found = in_order(mixed)
    assert found == in_order(LETTERS)
    for log in {(one.group, one.place) for one in LETTERS}:
        offsets = [one.offset for one in found if (one.group, one.place) == log]
        assert offsets == sorted(offsets)


def test_a_clock_that_went_back_does_not_turn_the_order_of_a_partition_round() -> None:
    times = [5, 9, 1, 3]
    back = [letter(structs.replace(RECORD, offset=n, timestamp=at)) for n, at in enumerate(times)]
    other = letter(structs.replace(RECORD, partition=3, offset=0, timestamp=7))
    found = in_order([*reversed(back), other])
    assert [one.offset for one in found if one.place == Partition(RECORD.topic, 2)] == [0, 1, 2, 3]
    assert found.index(other) == 1
