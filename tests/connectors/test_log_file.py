"""Opening logs: gzip by content, foreign packings named, damage as one finding."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from pathlib import Path

import pytest

from bus.errors import CheckFailed, UsageError
from connectors import log_file


def _read(path: Path) -> bytes:
    with log_file.reading(path) as stream:
        return stream.read()


@pytest.mark.parametrize("name", ["log.gz", "log.xes"])
def test_gzip_is_known_by_its_content_not_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"<log/>") + gzip.compress(b"\n"))
    assert _read(path) == b"<log/>\n"
    path.write_bytes(b"<log/>")
    assert _read(path) == b"<log/>"


def test_what_cannot_be_opened_is_a_usage_error(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path in (loop, tmp_path, tmp_path / "none", tmp_path / ("n" * 300)):
        with pytest.raises(UsageError, match=r"Give the path of a readable"):
            _read(path)


@pytest.mark.parametrize("keep", [3, 12, 40, -1, -9])
def test_a_gzip_that_ends_early_is_one_finding(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "log.xes.gz"
    path.write_bytes(gzip.compress(bytes(range(256)) * 40)[:keep])
    with pytest.raises(CheckFailed, match="gzip"):
        _read(path)


def test_damaged_gzip_data_are_one_finding(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"<log>" * 1000))
    packed[len(packed) // 2] ^= 0xFF
    path = tmp_path / "log.xes.gz"
    path.write_bytes(packed)
    with pytest.raises(CheckFailed, match="gzip"):
        _read(path)


def test_other_packings_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log.xes"
    path.write_bytes(bz2.compress(b"<log/>"))
    with pytest.raises(CheckFailed, match="bzip2"):
        _read(path)
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("log.xes", "<log/>")
    with pytest.raises(CheckFailed, match="zip"):
        _read(path)


def test_an_empty_file_is_a_finding_and_a_missing_one_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(CheckFailed, match="empty"):
        _read(tmp_path / "empty")
    with pytest.raises(UsageError, match="no such file"):
        _read(tmp_path / "none")
    with pytest.raises(UsageError, match="directory"):
        _read(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_xml_is_known_in_every_encoding(encoding: str) -> None:
    assert log_file.is_xml('<?xml version="1.0"?><log/>'.encode(encoding))
    assert not log_file.is_xml("case,activity,timestamp".encode(encoding))
