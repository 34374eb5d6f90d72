"""1,000 fuzzed lines per contract through the `publish` command: none invalid stored, each refusal names its field.

The judge is not pydantic: an acknowledged payload must satisfy the contract's JSON Schema under `jsonschema`, and the
stored bytes must decode under fastavro to the same values.
"""

from __future__ import annotations

import asyncio
import io
import json
import random
import threading
from typing import Any

import fastavro
import jsonschema
import pytest

from bus.cli.events import publish_lines
from bus.errors import BusError
from bus.json_lines import parser_of
from bus.message import Receipt
from bus.publish import Publication, Publisher
from bus.testing import ManualClock, memory_cluster
from bus.transport.memory import MemoryCluster
from schemas.avro import schema_of
from schemas.catalogue import EventType, standard
from schemas.codec import Codec
from tests.bus.payloads import VALID

LINES = 1_000
CATALOGUE = standard()
TYPES = list({t.model: t for t in CATALOGUE.types()}.values())
JUNK: list[Any] = [
    None, True, 0, -1, 2**31, 2**63, 1.5, 1e400, "", " ", "\x00", "ə" * 3, "x" * 5_000, "2026-13-45", "2026-01-05",
    "2026-01-05T00:00:00", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59-12:00", "-1.00", "1.005", "NaN", "1e9",
    "az", "AZE", "unknown", [], [1], {}, {"a": 1}, {"": ""}, "\ud800",
]  # fmt: skip


def mutated(valid: dict[str, Any], dice: random.Random) -> bytes:
    """One input line: mostly a valid payload with one to three faults, sometimes broken bytes, sometimes untouched."""
    line: dict[str, Any] = {"case": f"case-{dice.randrange(50)}", "data": dict(valid)}
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3])):
        target = dice.choice([line["data"] if isinstance(line.get("data"), dict) else line, line["data"], line])
        target = target if isinstance(target, dict) else line
        key = dice.choice([*target, "extra", "", "ID"])
        match dice.randrange(4):
            case 0:
                target.pop(key, None)
            case 1:
                target[key] = dice.choice(JUNK)
            case 2 if isinstance(target.get(key), str):
                text = target[key]
                at = dice.randrange(len(text) + 1)
                target[key] = text[:at] + dice.choice(["\x1f", "/", "Ə", "", text, "\u2028"]) + text[at:]
            case _:
                other = dice.choice([*target, "extra"])
                target[key], target[other] = target.get(other), target.get(key)
        line.setdefault("data", dict(valid))
    raw = json.dumps(line, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    match dice.randrange(12):
        case 0:
            raw = raw[: dice.randrange(len(raw))]
        case 1:
            at = dice.randrange(len(raw))
            raw = raw[:at] + bytes([dice.randrange(256)]) + raw[at + 1 :]
        case 2:
            raw = b"[" * dice.choice([10, 100_000]) + raw
    return raw.replace(b"\n", b" ") or b"x"


def run(known: EventType, lines: list[bytes]) -> tuple[MemoryCluster, list[dict[str, Any]], int]:
    cluster = memory_cluster(known.topic)
    publisher_args = {"agency": known.agency, "clock": ManualClock()}

    def publish_all(said: list[Publication | BusError]) -> list[Receipt | BusError]:
        async def once() -> list[Receipt | BusError]:
            publisher = Publisher(cluster.producer(), Codec(CATALOGUE), CATALOGUE, **publisher_args)  # type: ignore[arg-type]
            return await publisher.publish_all(said)

        return asyncio.run(once())

    out = io.StringIO()
    stream = io.BytesIO(b"\n".join(lines))
    failed = publish_lines(stream.read, parser_of(known.model), publish_all, out=out, stop=threading.Event())
    return cluster, [json.loads(text) for text in out.getvalue().splitlines()], failed


@pytest.mark.parametrize("known", TYPES, ids=lambda t: t.model.contract)
def test_no_invalid_payload_is_stored_and_each_refusal_names_its_field(known: EventType) -> None:
    valid = VALID[known.model.contract]
    dice = random.Random(known.topic)
    lines = [mutated(valid, dice) for _ in range(LINES)]
    cluster, results, failed = run(known, lines)

    assert [r["line"] for r in results] == [n for n, line in enumerate(lines, 1) if line.strip()]
    acknowledged = [r for r in results if r["status"] == "acknowledged"]
    refused = [r for r in results if r["status"] == "refused"]
    assert len(acknowledged) + len(refused) == len(results)
    assert failed == len(refused)
    assert len(acknowledged) > 50
    assert len(refused) > 500
    assert all(r["field"] and r["reason"] for r in refused)
    assert all(r["field"] == "line" or r["field"].split(".")[0] in known_fields() | unknown_of(lines[r["line"] - 1])
               for r in refused)  # fmt: skip

    judge = jsonschema.Draft202012Validator(known.model.model_json_schema())
    avro = fastavro.parse_schema(schema_of(known.model))
    stored = {(p.number, r.offset): r for p, log in cluster.logs.items() for r in log}
    assert len(stored) == len(acknowledged)
    for result in acknowledged:
        data = json.loads(lines[result["line"] - 1])["data"]
        judge.validate(data)
        value = stored[result["partition"], result["offset"]].value
        assert value is not None
        body = io.BytesIO(value[5:])
        decoded = fastavro.schemaless_reader(body, avro, None)
        assert body.read() == b""
        assert isinstance(decoded, dict)
        assert all(decoded[key] == text for key, text in data.items() if isinstance(text, str) and key not in AS_OTHER)


AS_OTHER = {"born_at", "registered_on", "entered_on", "assigned_on", "amount", "due", "deadline", "issued_on"}
AS_OTHER |= {"revoked_on", "valid_until", "appeal_by", "wanted_by"}


def known_fields() -> set[str]:
    return {"case", "data", "id", "time", "record"}


def unknown_of(raw: bytes) -> set[str]:
    """The first-level keys of a line, so that an unknown one may be named in its refusal."""
    try:
        found = json.loads(raw.decode("utf-8", "replace"))
    except ValueError:
        return set()
    return set(found) if isinstance(found, dict) else set()


def test_every_contract_has_a_payload_and_it_is_acknowledged() -> None:
    assert {t.model.contract for t in TYPES} == set(VALID)
    for known in TYPES:
        line = json.dumps({"case": "c", "data": VALID[known.model.contract]}).encode()
        _, results, failed = run(known, [line, b"", line])
        assert (failed, [r["line"] for r in results]) == (0, [1, 3])
        assert results[0]["id"] == results[1]["id"]
