"""What a machine must offer: each lack is one finding."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path

import pytest

from bus import local_checks
from bus.errors import BusError


def test_this_machine_has_every_codec_for_both_clients() -> None:
    assert local_checks.codecs() == []


@pytest.mark.parametrize("client", local_checks.CLIENTS)
def test_a_missing_codec_is_an_error_that_names_codec_and_client(monkeypatch: pytest.MonkeyPatch, client: str) -> None:
    monkeypatch.setattr(f"{client}.codec.has_zstd", lambda: False)
    [verdict] = local_checks.codecs()
    assert verdict.level == "error"
    assert f"zstd ({client})" in verdict.message


def test_no_java_is_a_warning_since_another_broker_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def java() -> Path:
        raise BusError("no Java", remedy="get one")

    monkeypatch.setattr("bus.broker.process.java", java)
    [verdict] = local_checks.java()
    assert (verdict.level, verdict.message, verdict.remedy) == ("warning", "no Java", "get one")


def test_a_full_disk_is_a_warning_even_for_a_folder_yet_to_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024  # what shutil returns
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1 << 40, 1 << 40, 5 << 20))
    [verdict] = local_checks.disk(tmp_path / "not" / "yet")
    assert verdict.message.startswith("5 MiB are free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1 << 40, 0, 1 << 30))
    assert local_checks.disk(tmp_path) == []
