"""docker-compose.yml and Dockerfile against the Compose Specification's schema and against our own commands.

No docker runs here: what is checked is the file's form, that it says the same to Kafka as our launcher does, that each
command line is one that agencybus takes, and that nothing is reachable from outside or runs as root.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from bus.broker.config import Node, server_properties
from bus.broker.lock import KAFKA_VERSION
from bus.cli import main
from bus.settings import Settings

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if name != "kafka"}


def property_of(variable: str) -> str:
    """The broker property that the image makes of an environment variable: _ is a dot, __ an underscore."""
    return (
        variable.removeprefix("KAFKA_")
        .lower()
        .replace("___", "-")
        .replace("__", "\0")
        .replace("_", ".")
        .replace("\0", "_")
    )


def test_the_file_follows_the_compose_specification() -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(COMPOSE)


@pytest.mark.parametrize("wrong", [{"services": {"a": {"imagee": "x"}}}, {"services": {"a": {"ports": "80"}}}])
def test_the_schema_refuses_a_wrong_file(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate(wrong)


def test_kafka_is_the_launchers_version_by_exact_tag() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"


def test_kafka_is_told_what_the_launcher_tells_it() -> None:
    node = Node(1, 9092, 9093)
    lines = server_properties(node, [node], data=Path("/var/lib/kafka/data")).splitlines()
    ours = dict(line.split("=", 1) for line in lines)
    theirs = {property_of(k): str(v) for k, v in SERVICES["kafka"]["environment"].items() if k.startswith("KAFKA_")}
    network = re.compile("listener|voters|heap")
    shared = {key for key in theirs if not network.search(key)}
    assert len(shared) >= 13
    assert {key: theirs[key] for key in shared} == {key: ours[key] for key in shared}


def test_everything_published_is_on_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_service_that_stays_has_a_health_check_of_ten_seconds_or_more() -> None:
    for name, service in SERVICES.items():
        if name == "topics":
            continue
        assert int(service["healthcheck"]["interval"].removesuffix("s")) >= 10, name


@pytest.mark.parametrize("name", sorted(OURS))
def test_each_command_line_is_one_that_agencybus_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = OURS[name]["command"]
    assert program == "agencybus"
    assert main.main([*words, "--help"]) == 0, capsys.readouterr().err
    check = OURS[name].get("healthcheck", {}).get("test", [])
    if "agencybus" in check:
        assert main.main([*check[check.index("agencybus") + 1 :], "--help"]) == 0


def test_a_word_that_agencybus_does_not_take_would_be_found() -> None:
    assert main.main(["worker", "run", "birth", "--no-such-option", "--help"]) == 2


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_get_the_brokers_inner_address_and_no_rights(name: str) -> None:
    service = OURS[name]
    inner = service["environment"]["AGENCYBUS__BOOTSTRAP"]
    assert f"INTERNAL://{inner}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_every_named_volume_is_declared() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert used == set(COMPOSE["volumes"])


def test_the_image_ends_without_root_and_takes_only_what_the_builder_is_given() -> None:
    text = (ROOT / "Dockerfile").read_text()
    final = text.split("\nFROM ")[-1]
    assert re.search(r"^USER [1-9][0-9]+$", final, re.MULTILINE)
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [line.split()[1:-1] for line in text.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert {word for words in copied for word in words} == allowed
    assert all((ROOT / word).exists() for word in allowed)


def test_the_base_image_is_the_oldest_python_we_support() -> None:
    wanted = re.search(r'requires-python = ">=([0-9.]+)"', (ROOT / "pyproject.toml").read_text())
    assert wanted is not None
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == [f"python:{wanted[1]}-slim"] * 2


def test_the_worker_is_healthy_when_its_own_page_says_so_and_not_before() -> None:
    worker = SERVICES["worker"]
    port = worker["command"][worker["command"].index("--health") + 1]
    *_, program = worker["healthcheck"]["test"]
    assert f"http://127.0.0.1:{port}/ready" in program
    code = program.replace(port, "1")  # nothing listens there
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode != 0


def test_the_grace_period_is_longer_than_a_worker_s_budget() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["drain_s"].default + 5
