"""The generated writer, as source."""

from __future__ import annotations

from schemas.birth import IdentityEntered
from schemas.shape import shape_of
from schemas.writer import compile_writer
from tests.schemas.samples import Everything

SOURCE = """\
def write(event):
    out = []
    add = out.append
    v1 = event.person.encode()
    add(long(len(v1)))
    add(v1)
    v2 = event.document_number.encode()
    add(long(len(v2)))
    add(v2)
    add(long(event.entered_on.toordinal() - 719163))
    return b''.join(out)
"""


def test_the_source_names_each_field_once_and_nothing_else() -> None:
    assert compile_writer(shape_of(IdentityEntered))[1] == SOURCE


def test_field_values_never_reach_the_source() -> None:
    source = compile_writer(shape_of(Everything))[1]
    assert "a word" not in source
    assert "import" not in source
