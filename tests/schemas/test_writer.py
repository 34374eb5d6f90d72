"""The generated writer, as source."""

from __future__ import annotations

from datetime import date, timedelta

from schemas.birth import IdentityEntered
from schemas.shape import shape_of
from schemas.varint import long
from schemas.writer import EPOCH_DAY, compile_writer
from tests.schemas.samples import Everything

SOURCE = """\
def write(event):
    out = []
    v1 = event.person.encode()
    v3 = event.document_number.encode()
    out += (last[v2] if (v2 := len(v1) << 1) < 16384 else long(len(v1)), v1, \
last[v4] if (v4 := len(v3) << 1) < 16384 else long(len(v3)), v3, \
days.get(event.entered_on) or day(event.entered_on),)
    return b''.join(out)
"""


def test_the_source_names_each_field_once_and_nothing_else() -> None:
    assert compile_writer(shape_of(IdentityEntered))[1] == SOURCE


def test_field_values_never_reach_the_source() -> None:
    source = compile_writer(shape_of(Everything))[1]
    assert "a word" not in source
    assert "import" not in source


def test_more_days_than_are_kept_ready_are_written_as_they_are() -> None:
    days = [date(1990, 1, 1) + timedelta(n) for n in (*range(9_000), 0, 1)]
    write = compile_writer(shape_of(IdentityEntered))[0]
    for day in days:
        event = IdentityEntered(person="SYN-P-1", document_number="D", entered_on=day)
        assert write(event) == b"\x0eSYN-P-1\x02D" + long(day.toordinal() - EPOCH_DAY)
