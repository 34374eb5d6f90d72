"""What an error carries and how it reads; that each becomes its exit code is shown in test_cli_main."""

from __future__ import annotations

import inspect

import pytest

from bus import errors
from bus.errors import BusError, CheckFailed, Fenced, Finding, OutcomeUnknown, Refused, Unreachable, UsageError


def test_an_error_reads_as_its_sentence_and_then_the_remedy() -> None:
    assert str(BusError("It failed.", remedy="Do this.")) == "It failed. Do this."
    assert str(BusError("It failed.")) == "It failed."


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (BusError, 1),
        (Refused, 1),
        (OutcomeUnknown, 1),
        (Fenced, 1),
        (UsageError, 2),
        (CheckFailed, 3),
        (Unreachable, 4),
    ],
)
def test_each_kind_has_the_exit_code_the_documentation_gives_it(kind: type[BusError], code: int) -> None:
    assert kind.exit_code == code


def test_no_kind_of_error_is_left_out_above() -> None:
    kinds = {kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BusError)}
    assert kinds == {BusError, Refused, OutcomeUnknown, Fenced, UsageError, CheckFailed, Unreachable}


def test_an_unknown_outcome_names_the_id_to_publish_again() -> None:
    error = OutcomeUnknown("No answer after 30 s.", event_id="e-1")
    assert error.event_id == "e-1"
    assert str(error) == "No answer after 30 s. Publish the same id again: readers keep one of two."


def test_a_finding_reads_as_place_message_rule_and_fix() -> None:
    assert str(Finding("p.yaml", 3, "owner", "no owner.", "Name one.")) == "p.yaml:3: no owner. [owner] Name one."
    assert str(Finding("p.yaml", 0, "empty", "is empty.", "")) == "p.yaml: is empty. [empty]"


def test_findings_sort_as_a_person_reads_the_files() -> None:
    found = [Finding("b", 2, "r", "m", "f"), Finding("a", 10, "r", "m", "f"), Finding("a", 9, "s", "m", "f")]
    assert [(f.file, f.line) for f in sorted(found)] == [("a", 9), ("a", 10), ("b", 2)]


def test_a_failed_check_keeps_all_findings_and_shows_as_many_as_a_screen_holds() -> None:
    found = [Finding("f", n, "r", "m", "") for n in range(1, errors.MAX_SHOWN + 3)]
    failed = CheckFailed(found)
    assert failed.findings == found
    assert str(failed).splitlines()[-2:] == [f"f:{errors.MAX_SHOWN}: m [r]", "… and 2 more findings."]
    assert "more" not in str(CheckFailed(found[: errors.MAX_SHOWN]))
