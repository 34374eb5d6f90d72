"""Runs inside the environment of avro-python3 1.10.2, as another agency's program would; knows nothing of ours.

stdin: a list of ``{"schema": {...}, "read": hex, "write": datum}``; stdout: ``{"version": text, "answers": [{"read":
datum, "written": hex}]}``. That release knows no logical types, so a datum is plain; bytes are ``{"$bytes": hex}``.
"""

import io
import json
import sys
from typing import Any

import avro.io
import avro.schema


def to_json(value: Any) -> Any:
    """Tag what JSON lacks."""
    return {"$bytes": value.hex()} if isinstance(value, bytes) else str(value)


def from_json(value: dict[str, Any]) -> Any:
    """Undo the tags."""
    return bytes.fromhex(value["$bytes"]) if "$bytes" in value else value


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Read one encoding and write one datum."""
    schema = avro.schema.parse(json.dumps(question["schema"]))
    read = avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(bytes.fromhex(question["read"]))))
    out = io.BytesIO()
    avro.io.DatumWriter(schema).write(question["write"], avro.io.BinaryEncoder(out))
    return {"read": read, "written": out.getvalue().hex()}


if __name__ == "__main__":
    questions = json.load(sys.stdin, object_hook=from_json)
    answers = [answer(question) for question in questions]
    json.dump({"version": avro.__version__, "answers": answers}, sys.stdout, default=to_json)
