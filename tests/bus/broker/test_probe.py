"""The one request we write by hand."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.broker import probe
from bus.broker.probe import Answer, ask, parse, request


def text(value: str | None) -> bytes:
    raw = b"" if value is None else value.encode()
    return struct.pack(">h", -1 if value is None else len(raw)) + raw


def body(answer: Answer) -> bytes:
    """A broker's bytes for `answer` (Metadata v2, no topics)."""
    out = struct.pack(">ii", 7, len(answer.brokers))
    for node, address in answer.brokers.items():
        host, _, port = address.rpartition(":")
        out += struct.pack(">i", node) + text(host) + struct.pack(">i", int(port)) + text(None)
    return out + text(answer.cluster_id) + struct.pack(">ii", answer.controller, 0)


@contextmanager
def server(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A loopback server that answers one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with listener.accept()[0] as connection:
                speak(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


ADDRESSES = st.builds(lambda host, port: f"{host}:{port}", st.text("abc.", min_size=1), st.integers(0, 65535))


@given(
    st.builds(
        Answer,
        cluster_id=st.none() | st.text(max_size=30),
        brokers=st.dictionaries(st.integers(0, 2**31 - 1), ADDRESSES, max_size=5),
        controller=st.integers(-1, 9),
    )
)
def test_an_answer_is_read_as_it_was_written(answer: Answer) -> None:
    assert parse(body(answer)) == answer


@given(st.binary(max_size=200))
def test_hostile_bytes_give_a_value_error_and_nothing_else(raw: bytes) -> None:
    with suppress(ValueError):
        parse(raw)


@given(st.data())
def test_a_cut_answer_is_refused(data: st.DataObject) -> None:
    whole = body(Answer("id", {1: "h:1", 2: "h:2"}, 1))[:-4]  # the empty topic list is not read
    with pytest.raises(ValueError, match="not a Kafka"):
        parse(whole[: data.draw(st.integers(8, len(whole) - 1))])


def test_an_answer_of_a_broker_is_given() -> None:
    said = Answer("abc", {1: "127.0.0.1:9092"}, 1)

    def speak(connection: socket.socket) -> None:
        assert connection.recv(100) == request()
        connection.sendall(struct.pack(">i", len(body(said))) + body(said))

    with server(speak) as address:
        assert ask(address, timeout=5) == said


@pytest.mark.parametrize(
    "reply", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xff\xff\xff", b"\x00\x00\x00\x08\x00\x00"]
)
def test_a_server_that_is_no_broker_gives_none(reply: bytes) -> None:
    def speak(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(reply)

    with server(speak) as address:
        assert ask(address, timeout=5) is None


@pytest.mark.parametrize("size", [-1, 0, 2**30])
def test_an_answer_of_an_absurd_size_is_not_read(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[int] = []
    right = probe._exactly

    def watched(connection: socket.socket, count: int) -> bytes:
        wanted.append(count)
        return right(connection, count)

    monkeypatch.setattr(probe, "_exactly", watched)
    with server(lambda connection: connection.sendall(struct.pack(">i", size))) as address:
        assert ask(address, timeout=5) is None
    assert wanted == [4]


def test_nobody_listening_gives_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert ask(f"127.0.0.1:{port}", timeout=1) is None


@pytest.mark.kafka
def test_real_kafka_answers_with_its_cluster(kafka: str) -> None:
    answer = ask(kafka, timeout=5)
    assert answer is not None
    assert answer.cluster_id
    assert kafka in answer.brokers.values()
