"""Settings: precedence, origins, and errors that name the variable or file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from bus import settings
from bus.broker.config import Node
from bus.broker.launcher import NodeStatus, Status
from bus.errors import UsageError


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, no variables of ours, no local broker."""
    for name in list(os.environ):
        if name.startswith(settings.PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AGENCYBUS__DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def test_a_flag_beats_the_environment_beats_dotenv_beats_the_file_beats_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings.explain().origins["agency"] == "default"
    Path("agencybus.toml").write_text("agency = 'from-file'\n")
    assert settings.load().agency == "from-file"
    Path(".env").write_text("AGENCYBUS__AGENCY=from-dotenv\nSOMETHING_ELSE=1\n")
    assert settings.load().agency == "from-dotenv"
    monkeypatch.setenv("AGENCYBUS__AGENCY", "from-environment")
    assert settings.load().agency == "from-environment"
    found = settings.explain({"agency": "from-flag", "bootstrap": None})
    assert (found.settings.agency, found.origins["agency"]) == ("from-flag", "flag --agency")
    assert found.origins["data_dir"] == "environment AGENCYBUS__DATA_DIR"


def test_the_constructor_reads_nothing_but_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENCYBUS__AGENCY", "surroundings")
    assert settings.Settings().agency is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AGENCYBUS__AGNCY", "x", r"environment AGENCYBUS__AGNCY is no setting.*Did you mean agency\?"),
        ("AGENCYBUS__SESSION_TIMEOUT_MS", "soon", r"environment AGENCYBUS__SESSION_TIMEOUT_MS = 'soon'"),
        ("AGENCYBUS__SESSION_TIMEOUT_MS", "10", r"greater than or equal to 6000"),
        ("AGENCYBUS__BOOTSTRAP", "nowhere", r"'nowhere' is not host:port"),
        ("AGENCYBUS__BOOTSTRAP", "a:1,b:99999", r"'b:99999' is not host:port"),
        ("AGENCYBUS__AGENCY", "Not An Agency", r"lower-case words"),
        ("AGENCYBUS__PUBLISH_DEADLINE_S", "nan", r"AGENCYBUS__PUBLISH_DEADLINE_S"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message) as failed:
        settings.load()
    assert failed.value.exit_code == 2


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"agncy = 'x'", r"agencybus\.toml key agncy is no setting"),
        (b"agency = 7", r"agencybus\.toml key agency = '7'"),
        (b"[agency]\nname = 1", r"agencybus\.toml key agency"),
        (b"agency = \n", r"agencybus\.toml is not a TOML file.*line 1"),
        (b"agency = '\xff'", r"agencybus\.toml is not a TOML file"),
        (b"a = " + b"[" * 900, r"agencybus\.toml is not a TOML file"),
        (b"\n" + b"a." * 1_000 + b" = 1", r"agencybus\.toml:2: is longer than 1,000 characters"),
        (b"data_dir = ['a']", r"agencybus\.toml key data_dir takes a text or a number"),
        (b"publish_deadline_s = true", r"agencybus\.toml key publish_deadline_s takes a text or a number"),
        (b"# x\n" * (1 << 15), r"larger than 64 KiB"),
    ],
)
def test_a_wrong_settings_file_is_named(raw: bytes, message: str) -> None:
    Path("agencybus.toml").write_bytes(raw)
    with pytest.raises(UsageError, match=message):
        settings.load()


def test_a_settings_file_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml cannot be read"):
        settings.load(config=tmp_path / "none.toml")


def test_a_dotenv_that_is_no_text_is_named() -> None:
    Path(".env").write_bytes(b"AGENCYBUS__AGENCY=\xff\xfe")
    with pytest.raises(UsageError, match=r"\.env cannot be read"):
        settings.load()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nAGENCYBUS__AGENCY justice\n", r"\.env line 2 cannot be read"),
        ("AGENCYBUS__AGENCY\n", r"\.env line 1 cannot be read"),
        ("AGENCYBUS__AGENCY='justice\n", r"\.env line 1 cannot be read"),
        ("A=x\nAGENCYBUS__AGENCY=${A}\n", r"\.env line 2: AGENCYBUS__AGENCY holds \$\{\.\.\.\}, which is not expanded"),
        ("AGENCYBUS__AGENCY=a\0b\n", r"\.env line 1: AGENCYBUS__AGENCY holds a zero character"),
        ("A=" + "x" * (1 << 20), r"\.env is larger than 1 MiB"),
    ],
)
def test_a_line_of_ours_in_dotenv_that_cannot_be_read_is_named(text: str, message: str) -> None:
    Path(".env").write_text(text)
    with pytest.raises(UsageError, match=message):
        settings.load()


def test_what_other_programs_keep_in_dotenv_is_theirs() -> None:
    """A bomb of references among them expands to nothing, since nothing is expanded."""
    bomb = "A0=x\n" + "".join(f"A{n}={f'${{A{n - 1}}}' * 10}\n" for n in range(1, 40))
    Path(".env").write_text(f"# AGENCYBUS__AGENCY\nno name value\n{bomb}export agencybus__agency='justice' # ours\n")
    assert settings.load().agency == "justice"


def test_a_misspelt_name_in_dotenv_is_refused() -> None:
    Path(".env").write_text("AGENCYBUS__AGENCI=x\n")
    with pytest.raises(UsageError, match=r"\.env AGENCYBUS__AGENCI is no setting"):
        settings.load()


def test_the_running_local_broker_is_the_default_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broker = tmp_path / "data" / "broker"
    broker.mkdir(parents=True)
    (broker / "cluster.json").write_text("{}")
    node = Node(1, 19092, 19093)

    def status(directory: Path) -> Status:
        return Status(directory, "id", (NodeStatus(1, node.address, "running", 1, directory / "log"),))

    monkeypatch.setattr("bus.broker.launcher.status", status)
    found = settings.explain()
    assert found.settings.bootstrap == "127.0.0.1:19092"
    assert found.origins["bootstrap"].startswith("local broker in ")
    assert settings.load({"bootstrap": "other:1"}).bootstrap == "other:1", "a given address always wins"


def test_a_damaged_local_broker_leaves_the_default(tmp_path: Path) -> None:
    broker = tmp_path / "data" / "broker"
    broker.mkdir(parents=True)
    (broker / "cluster.json").write_text("{")
    assert settings.load().bootstrap == "127.0.0.1:9092"


@effort(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_settings_file_gives_settings_or_a_usage_error(raw: bytes) -> None:
    Path("agencybus.toml").write_bytes(raw)
    try:
        found = settings.load()
    except UsageError as error:
        message = str(error)
    else:
        message = ""
        assert isinstance(found, settings.Settings)
    assert "Traceback" not in message
