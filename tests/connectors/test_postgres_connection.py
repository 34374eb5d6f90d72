"""A connection that is reset while an answer is waited for."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import text

from bus.errors import Unreachable
from connectors.database import open_database, transaction
from tests.postgres import Postgres, broken_connections


class Cutter:
    """A door to the server that ends connections with RST, as a firewall or a dying host would, when told to."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port = self._door.getsockname()[1]
        self.cut = False  # the next bytes of a client are answered with RST
        threading.Thread(target=self._open, daemon=True).start()

    def _open(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._door.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with source, sink, suppress(OSError):
            while data := source.recv(65_536):
                if self.cut:
                    sink.shutdown(socket.SHUT_RDWR)
                    source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    return
                sink.sendall(data)

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()


@pytest.fixture
def cutter(postgres: Postgres) -> Iterator[Cutter]:
    made = Cutter(postgres.port)
    yield made
    made.close()


def test_a_connection_that_is_reset_while_an_answer_is_waited_for_is_unreachable(
    postgres: Postgres, cutter: Cutter, caplog: pytest.LogCaptureFixture
) -> None:
    """pg8000 lets the reset through as an OSError of its own, which would be told as a bug of the handler."""
    engine = open_database(postgres.url("postgres").replace(str(postgres.port), str(cutter.port)))

    def ask_twice(*, cut_before: int) -> None:
        with transaction(engine) as connection:
            for turn in range(2):
                cutter.cut = turn == cut_before
                connection.execute(text("SELECT 1"))
            cutter.cut = True  # the commit's answer at the latest

    with broken_connections():
        for before in (1, 2):
            with pytest.raises(Unreachable):
                ask_twice(cut_before=before)
            with pytest.raises(Unreachable), transaction(engine):  # a new connection
                pass
            cutter.cut = False
        with transaction(engine) as connection:
            connection.execute(text("SELECT 1"))
        cutter.cut = True  # the connection is in the pool, and is asked whether it lives
        with pytest.raises(Unreachable), transaction(engine):
            pass
        engine.dispose()
        caplog.clear()  # the pool logs the broken connection, and the log holds it
