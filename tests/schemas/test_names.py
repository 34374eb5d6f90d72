"""The grammar of names."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import names
from schemas.errors import NameRefused


@pytest.mark.parametrize("text", ["portal.request.created.v1", "social-fund.benefit.assigned.v9999", "a.b.c.v1"])
def test_a_lawful_topic_parses_and_prints_back(text: str) -> None:
    assert str(names.topic(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "a.b.c.v0",
        "a.b.c.v01",
        "a.b.c.v12345",
        "A.b.c.v1",
        "a_b.c.d.v1",
        "a.b.c.d.v1",
        "a..c.v1",
        "a-.b.c.v1",
        "-a.b.c.v1",
        "1a.b.c.v1",
        "a.b.c.v1\n",
        "ə.b.c.v1",
        "a.b.c.v١",
        f"{'a' * 245}.b.c.v1",
    ],
)
def test_any_other_topic_is_refused_with_the_grammar(text: str) -> None:
    with pytest.raises(NameRefused, match=r"<agency>\.<entity>\.<fact>\.v<major>"):
        names.topic(text)


@given(st.text(max_size=30))
def test_any_text_is_a_lawful_topic_or_refused(text: str) -> None:
    with suppress(NameRefused):
        assert str(names.topic(text)) == text


@pytest.mark.parametrize("text", ["", "A", "a_b", "a--b", "a.b", "a" * 65, "a\n"])
def test_an_unlawful_agency_is_refused(text: str) -> None:
    with pytest.raises(NameRefused):
        names.agency(text)


@pytest.mark.parametrize("text", ["", "a", "a.b.c", "A.b", "a.b_c"])
def test_an_unlawful_contract_is_refused(text: str) -> None:
    with pytest.raises(NameRefused):
        names.contract(text)


def test_lawful_agencies_and_contracts_come_back() -> None:
    assert names.agency("social-fund") == "social-fund"
    assert names.contract("request.created") == "request.created"


@pytest.mark.parametrize("text", ["a", "birth-2026-000017", "run:case%20x/1~2", "9" * 255])
def test_a_lawful_case_id_comes_back(text: str) -> None:
    assert names.case_id(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a b", "a\n", "ə", "a" * 256, "%41", "a\x00"])
def test_an_unlawful_case_id_is_refused(text: str) -> None:
    with pytest.raises(NameRefused):
        names.case_id(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_text_becomes_part_of_a_case_id(text: str) -> None:
    assert names.case_id(f"x:{names.case_part(text)}")


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_two_texts_never_become_one_part(one: str, other: str) -> None:
    assert (names.case_part(one) == names.case_part(other)) == (one == other)
