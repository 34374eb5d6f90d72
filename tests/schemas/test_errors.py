"""Errors of the schema side: one base to catch, and a built-in kind so that plain Python understands them too."""

from __future__ import annotations

import inspect

import pytest

from schemas import errors
from schemas.errors import EnvelopeRefused, SchemaSideError

ALL = [found for _, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, SchemaSideError)]


@pytest.mark.parametrize("error", [found for found in ALL if found is not SchemaSideError])
def test_each_error_is_one_of_ours_and_of_a_built_in_kind(error: type[SchemaSideError]) -> None:
    assert issubclass(error, ValueError | LookupError)
    assert not issubclass(error, OSError)


def test_there_is_no_other_error_in_the_module() -> None:
    assert {found for _, found in inspect.getmembers(errors, inspect.isclass)} == set(ALL)
    assert len(ALL) >= 7


def test_a_refused_envelope_names_the_header_and_why() -> None:
    refused = EnvelopeRefused("ce_time", "is no time")
    assert (refused.field, refused.reason, str(refused)) == ("ce_time", "is no time", "ce_time: is no time")
