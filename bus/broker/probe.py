"""Ask a broker whether it serves, without a client library: one Metadata request over a socket.

Called by `bus.broker.status` (readiness) and `bus.cli.broker` (a given address). The trap it avoids: an open port
proves nothing (a broker listens before it serves, and another cluster may have taken the port), so the answer's cluster
id and its list of brokers are what counts. Layout: Kafka protocol, Metadata v2 (request header v1, response header v0).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

_METADATA, _VERSION, _CORRELATION = 3, 2, 7
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a broker said: the cluster's id, its live brokers (``host:port`` by id), the controller (-1: none yet)."""

    cluster_id: str | None
    brokers: dict[int, str]
    controller: int


def request() -> bytes:
    """The bytes of a Metadata request for no topic."""
    client = b"agencybus"
    body = struct.pack(f">hhih{len(client)}si", _METADATA, _VERSION, _CORRELATION, len(client), client, 0)
    return struct.pack(">i", len(body)) + body


def parse(body: bytes) -> Answer:
    """Read the answer's body (without its length).

    Raises:
        ValueError: when it is not an answer to `request`.
    """
    try:
        correlation, count = struct.unpack_from(">ii", body)
        if correlation != _CORRELATION:
            raise ValueError("an answer to another request")
        at, brokers = 8, {}
        for _ in range(count):
            (node,) = struct.unpack_from(">i", body, at)
            host, at = _string(body, at + 4)
            (port,) = struct.unpack_from(">i", body, at)
            _, at = _string(body, at + 4)
            brokers[node] = f"{host}:{port}"
        cluster_id, at = _string(body, at)
        (controller,) = struct.unpack_from(">i", body, at)
    except (struct.error, UnicodeDecodeError) as exc:
        raise ValueError("not a Kafka broker's answer") from exc
    return Answer(cluster_id, brokers, controller)


def _string(body: bytes, at: int) -> tuple[str | None, int]:
    (size,) = struct.unpack_from(">h", body, at)
    if size < 0:
        return None, at + 2
    (raw,) = struct.unpack_from(f">{size}s", body, at + 2)
    return raw.decode(), at + 2 + size


def ask(address: str, *, timeout: float) -> Answer | None:
    """What the broker at `address` (``host:port``) says within `timeout` seconds; None when it does not answer so."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout) as connection:
            connection.settimeout(timeout)
            connection.sendall(request())
            (size,) = struct.unpack(">i", _exactly(connection, 4))
            if not 0 < size <= _MAX_ANSWER:
                return None
            return parse(_exactly(connection, size))
    except (OSError, ValueError):
        return None


def _exactly(connection: socket.socket, size: int) -> bytes:
    chunks = bytearray()
    while len(chunks) < size:
        chunk = connection.recv(size - len(chunks))
        if not chunk:
            raise ConnectionError("closed")
        chunks += chunk
    return bytes(chunks)
