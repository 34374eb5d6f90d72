"""`config show`: values, origins, JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bus.cli import main
from bus.settings import Settings


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AGENCYBUS__DATA_DIR", str(tmp_path))


def test_every_setting_is_shown_with_its_origin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENCYBUS__AGENCY", "health")
    assert main.main(["config", "show", "--origin", "--json", "--bootstrap", "a:1"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert set(shown) == set(Settings.model_fields)
    assert shown["agency"] == {"value": "health", "origin": "environment AGENCYBUS__AGENCY"}
    assert shown["bootstrap"] == {"value": "a:1", "origin": "flag --bootstrap"}
    assert shown["publish_deadline_s"] == {"value": 30.0, "origin": "default"}


def test_the_table_names_values_and_origins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text("agency = 'justice'\n")
    assert main.main(["config", "show", "--origin", "--config", "mine.toml"]) == 0
    out = capsys.readouterr().out
    assert "justice" in out
    assert "mine.toml key agency" in out


def test_a_wrong_setting_exits_two_with_its_place(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGENCYBUS__SESION_TIMEOUT_MS", "7000")
    assert main.main(["config", "show"]) == 2
    assert "AGENCYBUS__SESION_TIMEOUT_MS" in capsys.readouterr().err
