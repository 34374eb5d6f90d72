"""CSV logs: what is found by looking, what has to be said, and every kind of bad row."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import BusError, CheckFailed, UsageError
from connectors.csv_log import CsvLog, CsvOptions
from connectors.log_event import UNNAMED, LogEvent

HEAD = "case_id,activity,timestamp\n"
T = datetime(2011, 5, 4, 10, 11, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.csv"


def _read(path: Path, text: str | bytes, **options: str) -> list[LogEvent]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(CsvLog(path, options=CsvOptions(**options)))  # type: ignore[arg-type]  # texts only


def _refusal(path: Path, text: str | bytes, **options: str) -> str:
    with pytest.raises(CheckFailed) as raised:
        _read(path, text, **options)
    assert str(raised.value).startswith(str(path))
    return str(raised.value)


@pytest.mark.parametrize(
    "header",
    [
        "case_id,activity,timestamp",
        "case:concept:name,concept:name,time:timestamp",
        "Case ID,Activity,Complete Timestamp",
        "trace,event,time",
        "CASE,TASK,DATE",
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_usual_columns_and_delimiters_are_found(path: Path, header: str, delimiter: str) -> None:
    text = f"{header}\nc1,look,2011-05-04 10:11:12\n".replace(",", delimiter)
    (found,) = _read(path, text)
    assert (found.case, found.activity, found.time, found.line) == ("c1", "look", T, 2)


def test_named_columns_win_over_usual_ones(path: Path) -> None:
    text = "case,activity,time,ref,step,at\na,b,2011-01-01,r,s,2011-05-04T10:11:12\n"
    (found,) = _read(path, text, case="ref", activity="step", timestamp="at")
    assert (found.case, found.activity, found.time) == ("r", "s", T)
    assert found.attributes == {
        "case": "a",
        "activity": "b",
        "time": "2011-01-01",
        "step": "s",
        "at": "2011-05-04T10:11:12",
    }


def test_case_columns_belong_to_the_case(path: Path) -> None:
    path.write_text(
        "case,activity,time,case:channel,deadline,who\na,b,2011-01-01,web,2011-02-01,w\na,c,2011-01-02,,,v\n"
    )
    found = list(CsvLog(path, options=CsvOptions().with_case_column("deadline")))
    assert found[0].case_attributes == {"channel": "web", "deadline": "2011-02-01"}
    assert found[0].attributes == {"activity": "b", "time": "2011-01-01", "who": "w"}
    assert found[1].case_attributes == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark_or_utf_8_are_found(path: Path, encoding: str) -> None:
    data = (HEAD + "ş,İcazə,2011-05-04 10:11:12\n").encode(encoding)
    for packed in (data, gzip.compress(data)):
        (found,) = _read(path, packed)
        assert (found.case, found.activity) == ("ş", "İcazə")


def test_another_encoding_has_to_be_said(path: Path) -> None:
    data = (HEAD + "ş,İş,2011-05-04 10:11:12\n").encode("windows-1254")
    assert "--encoding" in _refusal(path, data)
    assert _read(path, data, encoding="cp1254")[0].activity == "İş"
    assert "--encoding utf-16-le" in _refusal(path, (HEAD * 2).encode("utf-16-le"))
    with pytest.raises(UsageError, match="no known encoding"):
        _read(path, data, encoding="klingon")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_line_of_wrong_bytes_is_named_however_far_down(path: Path, encoding: str) -> None:
    rows = "".join(f"c{n},a,2011-05-04 10:11:12\n" for n in range(3_000))
    damage = b"\xff" if encoding == "utf-8" else b"\x00\xdc"
    data = (HEAD + rows).encode(encoding) + "c,".encode(encoding)[-2:] + damage + ",a\n".encode(encoding)[-6:]
    assert f":3002: is not {encoding}" in _refusal(path, data)


def test_quoted_line_breaks_stay_in_their_value_and_lines_count_on(path: Path) -> None:
    text = HEAD + '"a","two\nlines, ""quoted""",2011-05-04 10:11:12\n\nb,x,2011-05-04 10:11:13\n'
    found = _read(path, text)
    assert [(e.activity, e.line) for e in found] == [('two\nlines, "quoted"', 2), ("x", 5)]


def test_an_empty_cell_is_a_missing_attribute(path: Path) -> None:
    (found,) = _read(path, "case,activity,time,x\na,,,\n", time_format="iso")
    assert (found.activity, found.time, found.attributes) == (UNNAMED, None, {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD + "a,b,2011-01-01\na,b\n", ":3: 2 values for 3 columns"),
        (HEAD + "a,b,2011-01-01,extra\n", ":2: 4 values"),
        (HEAD + 'a,"b,2011-01-01\n', ":2: the row that starts here"),
        (HEAD + 'a,"b"c,2011-01-01\n', ":2: the row"),
        (HEAD + " ,b,2011-01-01\n", ":2: column 'case_id': is empty"),
        (HEAD + "a,b,2011-01-01\na,b,then\n", ":3: column 'timestamp': 'then' is no time"),
        (HEAD + "a,b,yesterday\n", "'yesterday' is no time of a known form"),
        (HEAD + "a,b,04/05/2011\na,b,06/07/2011\n", "--time-format"),
        (HEAD + f"a,{'b' * 1001},2011-01-01\n", ":2: column 'activity': is too long"),
        (HEAD + f"a,{'b' * 140_000},2011-01-01\n", ":2: "),
        ("a,b,c\n1,2,3\n", "--case COLUMN"),
        ("case,case,activity,time\n", "stands twice"),
        ("just words\nand more\n", "--case COLUMN"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "zero bytes"),
        (b"\xff\xd8\xff\xe0abc\n", "--encoding"),
        ("\n\n\n", "header"),
    ],
)
def test_a_bad_file_is_one_finding_with_its_place(path: Path, text: str | bytes, words: str) -> None:
    assert words in _refusal(path, text)


def test_a_column_that_is_not_there_is_named_with_those_that_are(path: Path) -> None:
    message = _refusal(path, HEAD + "a,b,2011-01-01\n", case="kase")
    assert "no column 'kase'" in message
    assert "case_id, activity, timestamp" in message


def test_a_delimiter_of_two_characters_is_a_usage_error(path: Path) -> None:
    with pytest.raises(UsageError, match="delimiter"):
        _read(path, HEAD, delimiter="::")


def test_a_given_time_format_settles_day_and_month(path: Path) -> None:
    text = HEAD + "a,b,04/05/2011 10:11\n"
    assert _read(path, text, time_format="%m/%d/%Y %H:%M")[0].time == datetime(2011, 4, 5, 10, 11, tzinfo=UTC)
    assert ":2: column 'timestamp'" in _refusal(path, text, time_format="%Y-%m-%d")


def test_a_day_late_in_the_file_settles_the_whole_file(path: Path) -> None:
    rows = "".join(f"a,b,0{d % 9 + 1}/05/2011\n" for d in range(2_000)) + "a,b,31/05/2011\n"
    found = _read(path, HEAD + rows)
    assert {e.time.month for e in found if e.time} == {5}


_CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=15)


@given(st.lists(st.tuples(_CELLS.filter(str.strip), _CELLS, _CELLS), min_size=1, max_size=8), st.sampled_from(",;\t|"))
@settings(deadline=None)
def test_what_the_csv_module_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerow(("case", "activity", "timestamp", "note"))
    writer.writerows((case, activity, "2011-05-04T10:11:12Z", note) for case, activity, note in rows)
    path.write_bytes(out.getvalue().encode())
    found = list(CsvLog(path))
    assert [(e.case, e.activity, e.attributes.get("note", "")) for e in found] == [
        (c, a or UNNAMED, n) for c, a, n in rows
    ]


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_or_are_one_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "log.csv"
    path.write_bytes(HEAD.encode() + data)
    try:
        list(CsvLog(path))
    except BusError as error:
        assert str(error)  # noqa: PT017
