"""XES as IEEE 1849 says: the real log, encodings, globals, extensions, missing parts, and every kind of bad file."""

from __future__ import annotations

import gzip
import tracemalloc
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import CheckFailed
from connectors import xes
from connectors.log_event import UNNAMED, LogEvent
from connectors.xes import XesLog
from tests.connectors.support import HEAD, REAL, count, event, log, real_text, trace

NOON = "2011-10-11T12:00:00+02:00"


def _read(path: Path, text: str | bytes) -> list[LogEvent]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(XesLog(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.xes"


def _refusal(path: Path, text: str | bytes) -> str:
    with pytest.raises(CheckFailed) as raised:
        _read(path, text)
    message = str(raised.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_the_real_log_agrees_with_a_count_by_regular_expressions() -> None:
    expected = count(real_text())
    events = list(XesLog(REAL))
    assert len(events) == expected.events == 8_577
    assert len({e.case for e in events}) == expected.cases == 1_434
    assert Counter(e.activity for e in events) == expected.activities
    assert len(expected.activities) == 27
    assert (min(e.time for e in events if e.time), max(e.time for e in events if e.time)) == (
        expected.first,
        expected.last,
    )


def test_lines_are_those_of_the_file(path: Path) -> None:
    text = log(trace("a", event("x", NOON), event("y", NOON)))
    assert [e.line for e in _read(path, text)] == [4, 5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-9", "windows-1254"])
def test_every_declared_encoding_is_read(path: Path, encoding: str) -> None:
    text = log(
        trace("Qəbələ" if encoding.startswith("utf") else "Şuşa", event("İcazə" if "utf" in encoding else "İş", NOON))
    )
    bytes_ = text.replace("UTF-8", encoding if encoding[-2:] not in ("le", "be") else "utf-16").encode(encoding)
    bom = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(encoding, b"")
    (found,) = _read(path, bom + bytes_)
    assert found.case in ("Qəbələ", "Şuşa")
    assert found.activity in ("İcazə", "İş")
    assert _read(path, gzip.compress(bom + bytes_)) == [found]


def test_a_log_without_namespace_and_one_with_a_prefix_are_the_same(path: Path) -> None:
    text = log(trace("a", event("x", NOON)))
    plain = _read(path, text)
    assert _read(path, text.replace(' xmlns="http://www.xes-standard.org/"', "")) == plain
    prefixed = text.replace("xmlns=", "xmlns:p=").replace("</", "</p:").replace("<", "<p:").replace("<p:/p:", "</p:")
    assert _read(path, prefixed.replace("<p:?", "<?")) == plain


def test_defaults_are_applied_and_stay_apart_from_what_the_file_states(path: Path) -> None:
    head = (
        '<global scope="trace"><date key="deadline" value="1970-01-01T00:00:00Z"/>'
        '<string key="concept:name" value="?"/></global><global scope="event"><string key="concept:name" value="none"/>'
        '<date key="time:timestamp" value="1970-01-01T00:00:00Z"/><string key="org:group" value="nobody"/></global>'
    )
    (found,) = _read(path, log(head, trace("a", event(None, None, '<string key="org:group" value="g"/>'))))
    assert found.case == "a"
    assert found.activity == "none"
    assert found.time is None, "a default is no time"
    assert found.attributes == {"org:group": "g"}
    assert found.defaults == {"concept:name": "none", "time:timestamp": "1970-01-01T00:00:00Z"}
    assert found.case_attributes == {"concept:name": "a"}
    assert found.case_defaults == {"deadline": "1970-01-01T00:00:00Z"}


def test_names_that_are_missing_or_doubled_are_made_unique(path: Path) -> None:
    one = event("x", NOON)
    text = log(trace("a", one), trace("a", one), trace("a~2", one), trace(None, one), trace("a", one))
    assert [e.case for e in _read(path, text)] == ["a", "a~2", "a~2~2", "trace-4", "a~3"]


def test_an_event_without_a_name_is_unnamed_and_one_without_a_time_has_none(path: Path) -> None:
    (found,) = _read(path, log(trace("a", "<event/>")))
    assert (found.activity, found.time) == (UNNAMED, None)


def test_extensions_under_another_prefix_are_read_as_the_standard_s(path: Path) -> None:
    declared = '<extension name="Concept" prefix="c" uri="http://www.xes-standard.org/concept.xesext"/>'
    body = '<trace><string key="c:name" value="a"/><event><string key="c:name" value="x"/></event></trace>'
    (found,) = _read(path, log(declared, body))
    assert (found.case, found.activity) == ("a", "x")


def test_classifiers_with_quoted_keys_are_kept(path: Path) -> None:
    path.write_text(
        log('<classifier name="A" scope="event" keys="concept:name \'my key\'"/>', trace("a", event("x", NOON)))
    )
    read = XesLog(path)
    list(read)
    assert read.header.classifiers == {"A": ("concept:name", "my key")}


def test_traces_without_events_and_events_without_traces_are_counted_not_read(path: Path) -> None:
    path.write_text(log(event("loose", NOON), trace("a"), trace("b", event("x", NOON)), event("loose", NOON)))
    read = XesLog(path)
    assert [e.case for e in read] == ["b"]
    assert (read.header.empty_traces, read.header.loose_events) == (1, 2)


def test_case_attributes_after_the_events_are_still_the_case_s(path: Path) -> None:
    late = trace("a", event("x", NOON), event("y", NOON), '<string key="k" value="v"/>')
    found = _read(path, log(late))
    assert [dict(e.case_attributes) for e in found] == [{"concept:name": "a", "k": "v"}, {}]


def test_a_huge_trace_is_passed_on_as_it_comes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xes, "HOLD", 3)
    many = [event(str(n), NOON) for n in range(10)]
    found = _read(path, log(trace("a", *many, extra='<int key="k" value="1"/>'), trace("b", many[0])))
    assert [e.activity for e in found] == [*map(str, range(10)), "0"]
    assert [bool(e.case_attributes) for e in found] == [True] + [False] * 9 + [True]
    assert "follows 3 events" in _refusal(path, log(trace("a", *many, '<int key="k" value="1"/>')))


def test_other_attributes_can_name_case_activity_and_time(path: Path) -> None:
    inside = '<string key="do" value="x"/><date key="at" value="2011-01-01"/>'
    path.write_text(log(f'<trace><id key="nr" value="7"/><event>{inside}</event></trace>'))
    (found,) = XesLog(path, case="nr", activity="do", timestamp="at")
    assert (found.case, found.activity, found.time) == ("7", "x", datetime(2011, 1, 1, tzinfo=UTC))


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {c} "{f"&{b};" * 10}">' for b, c in zip("abcdefgh", "bcdefghi", strict=True))
    + ']><log><trace><event><string key="concept:name" value="&i;"/></event></trace></log>'
)
OUTSIDE = '<?xml version="1.0"?><!DOCTYPE log [<!ENTITY x SYSTEM "file:///etc/hostname">]><log><trace>&x;</trace></log>'
REMOTE = '<?xml version="1.0"?><!DOCTYPE log SYSTEM "http://127.0.0.1:9/x.dtd"><log/>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, ""),
        (OUTSIDE, "document type"),
        (REMOTE, "document type"),
        ("<html><body/></html>", "not <log>"),
        ("<log>", "Premature end"),
        (log(trace("a", event("x", NOON)))[:-20], ":"),
        (log(trace("a", event("x", NOON)) + "<trace><event>")[:-7], ":"),
        (log("<trace><trace/></trace>"), "inside a trace"),
        (log("<trace><event><event/></event></trace>"), "<event>"),
        (log("<trce/>", trace("a", event("x", NOON))), "<trce>"),
        (log(trace("a", event("x", "yesterday"))), "time:timestamp: 'yesterday' is no date"),
        (log(trace("a", event("x", ""))), "time:timestamp"),
        (log(trace("a", event("x", NOON, '<int key="n" value="many"/>'))), "n: 'many' is no int"),
        (log(trace("a", event("x" * 1001, NOON))), "concept:name"),
        (log(trace("a", event("x", NOON)), '<global scope="event"/>'), "after the first trace"),
        (log('<global scope="planet"/>'), "scope"),
        (HEAD.replace("UTF-8", "no-such"), "encoding"),
        (b"\x00\x01\x02\x03" * 50, ""),
        (log(trace("a", event("Ş", NOON))).encode("iso-8859-9"), ""),
        (log(trace("a", event("\x01", NOON))), ""),
        ("<log>" + "<a>" * 400, ""),
    ],
)
def test_a_bad_file_is_one_finding_with_its_place(path: Path, text: str | bytes, words: str) -> None:
    assert words in _refusal(path, text)


def test_megabytes_without_an_event_are_refused_in_bounded_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xes, "MAX_SPAN", 2**20)
    text = HEAD + "<trace>" + '<string key="a" value="b"/>' * 500_000
    tracemalloc.start()
    try:
        assert "without an event" in _refusal(path, gzip.compress(text.encode()))
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()


def test_an_unknown_entity_is_named_with_its_line(path: Path) -> None:
    text = log(trace("a", event("x", NOON))).replace('value="x"', 'value="&nothing;"')
    assert ":4: Entity 'nothing' not defined" in _refusal(path, text)


def test_traces_without_events_may_go_on_for_megabytes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xes, "MAX_SPAN", 2**17)
    path.write_text(log(*(trace(f"c{n}") for n in range(5_000)), trace("a", event("x", NOON))))
    assert [e.case for e in XesLog(path)] == ["a"]


@given(
    cut=st.integers(min_value=1, max_value=900),
    flip=st.integers(min_value=0, max_value=899),
    to=st.binary(min_size=1, max_size=1),
)
@settings(max_examples=200, deadline=None)
def test_any_damage_is_read_or_is_one_finding(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, to: bytes
) -> None:
    path = tmp_path_factory.mktemp("damage") / "log.xes"
    good = log(*(trace(f"c{n}", event("x", NOON), event("y", NOON)) for n in range(3))).encode()
    damaged = bytearray(good[:cut])
    if flip < len(damaged):
        damaged[flip : flip + 1] = to
    path.write_bytes(damaged)
    try:
        assert all(e.case for e in XesLog(path))
    except CheckFailed as error:
        assert len(error.findings) == 1  # noqa: PT017


_NAMES = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"), min_size=1, max_size=12
)


@given(st.lists(st.tuples(_NAMES, st.lists(_NAMES, min_size=1, max_size=4)), max_size=5))
@settings(deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, cases: list[tuple[str, list[str]]]) -> None:
    path = tmp_path_factory.mktemp("written") / "log.xes"
    path.write_text(log(*(trace(name, *(event(a, NOON) for a in activities)) for name, activities in cases)))
    found = list(XesLog(path))
    assert [e.activity for e in found] == [a for _, activities in cases for a in activities]
    assert len({e.case for e in found}) == len(cases)
