"""Other libraries read our bytes, and we read theirs: avro 1.12, avro-python3 1.10.2, confluent-kafka.

avro-python3 shares avro's import name, so it runs as a program in an environment of its own, made once per session.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import avro.io
import avro.schema
import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas.avro import schema_id, schema_of
from schemas.catalogue import Catalogue, standard
from schemas.codec import Codec
from schemas.event import Event
from tests.schemas.samples import EVENTS, Everything

CODEC = Codec(Catalogue([*standard().models(), Everything]))
EACH = pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)


def test_every_contract_is_among_the_samples() -> None:
    assert {type(event) for event in EVENTS} == {*standard().models(), Everything}


def texts(value: Any) -> Any:
    """UUIDs as the text `avro` takes and gives for them."""
    if isinstance(value, dict):
        return {key: texts(item) for key, item in value.items()}
    if isinstance(value, list):
        return [texts(item) for item in value]
    return str(value) if isinstance(value, UUID) else value


@EACH
def test_avro_reads_what_we_write_and_we_read_what_it_writes(event: Event) -> None:
    schema = avro.schema.parse(json.dumps(schema_of(type(event))))
    value = CODEC.encode(event)
    data = texts(event.model_dump())
    assert avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(value[5:]))) == data
    out = io.BytesIO()
    avro.io.DatumWriter(schema).write(data, avro.io.BinaryEncoder(out))
    assert CODEC.decode(value[:5] + out.getvalue(), type(event)) == event


def bare(schema: Any) -> Any:
    """A schema without its logical types."""
    if isinstance(schema, dict):
        return {key: bare(item) for key, item in schema.items() if key not in {"logicalType", "precision", "scale"}}
    return [bare(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="session")
def old_avro(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a program on avro-python3 1.10.2 makes of every sample: one environment, one run."""
    home = tmp_path_factory.mktemp("avro-python3")
    venv.EnvBuilder(with_pip=True).create(home)
    python = str(home / ("Scripts" if sys.platform == "win32" else "bin") / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "avro-python3==1.10.2"]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"avro-python3 cannot be installed: {done.stderr[-500:]}")
    questions = []
    for event in EVENTS:
        schema, body = schema_of(type(event)), CODEC.encode(event)[5:]
        datum = fastavro.schemaless_reader(io.BytesIO(body), bare(schema), None)
        questions.append({"schema": schema, "read": body.hex(), "write": datum})
    peer = str(Path(__file__).with_name("avro_python3_peer.py"))
    sent = json.dumps(questions, default=lambda raw: {"$bytes": raw.hex()})
    run = subprocess.run([python, peer], input=sent, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    told = json.loads(run.stdout)
    assert told["version"] == "1.10.2"
    data = [question["write"] for question in json.loads(sent)]
    return {
        type(event).__name__: (answer, datum)
        for event, answer, datum in zip(EVENTS, told["answers"], data, strict=True)
    }


@EACH
def test_avro_python3_reads_what_we_write_and_we_read_what_it_writes(event: Event, old_avro: dict[str, Any]) -> None:
    answer, datum = old_avro[type(event).__name__]
    assert answer["read"] == datum
    prefix = CODEC.encode(event)[:5]
    assert CODEC.decode(prefix + bytes.fromhex(answer["written"]), type(event)) == event


class Registry(BaseHTTPRequestHandler):
    """The part of the Confluent registry protocol that the client asks of one that knows our schemas."""

    def do_GET(self) -> None:
        number = self.path.removeprefix("/schemas/ids/").partition("?")[0]
        for event in EVENTS:
            schema = schema_of(type(event))
            if str(schema_id(schema)) == number:
                return self._answer(200, {"schema": json.dumps(schema)})
        return self._answer(404, {"error_code": 40403, "message": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = schema_id(json.loads(body["schema"]))
        subject = self.path.split("/")[2].partition("?")[0]
        self._answer(200, {"subject": subject, "version": 1, "id": number, "schema": body["schema"]})

    def _answer(self, status: int, document: Any) -> None:
        raw = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Stay quiet."""


@pytest.fixture(scope="session")
def registry() -> Iterator[SchemaRegistryClient]:
    """A client of a stub registry on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with SchemaRegistryClient({"url": f"http://127.0.0.1:{server.server_port}"}) as client:
        yield client
    server.shutdown()
    thread.join()
    server.server_close()


@EACH
def test_confluent_kafka_reads_what_we_write_and_we_read_what_it_writes(
    event: Event, registry: SchemaRegistryClient
) -> None:
    model = type(event)
    context = SerializationContext(model.topic(model.agencies[0]), MessageField.VALUE)
    value = CODEC.encode(event)
    found = AvroDeserializer(registry)(value, context)
    assert model.model_validate(found, strict=False) == event
    settings = {"auto.register.schemas": False}
    serializer = AvroSerializer(registry, json.dumps(schema_of(model)), conf=settings)
    assert serializer(event.model_dump(), context) == value
