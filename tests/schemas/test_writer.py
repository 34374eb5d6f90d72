"""The generated writer, as source."""

from __future__ import annotations

from schemas.birth import IdentityEntered
from schemas.shape import shape_of
from schemas.writer import compile_writer
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
