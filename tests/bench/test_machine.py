"""A run's JSON tells of its machine; the broker's files are in memory only where there is room for all it writes."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest

from tests.bench import machine


@pytest.mark.parametrize(("gib", "said"), [(8, "in memory"), (7, "on disk"), (None, "on disk")])
def test_the_broker_s_files_are_in_memory_where_there_is_room_and_the_report_says_it(
    monkeypatch: pytest.MonkeyPatch, gib: int | None, said: str
) -> None:
    def usage(_: object) -> SimpleNamespace:
        if gib is None:
            raise FileNotFoundError
        return SimpleNamespace(free=gib * 2**30)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    assert machine.facts()["broker_files"] == said
    assert (machine.broker_files() is None) == (said == "on disk")


def test_the_report_says_how_quick_the_interpreter_is_on_this_machine() -> None:
    pace = machine.facts()["python_loop_ms"]
    assert isinstance(pace, float)
    assert 0 < pace == round(pace, 1)
