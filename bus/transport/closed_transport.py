"""Tells aiokafka in its own terms that a connection is gone where the event loop is uvloop's.

Called wherever the first aiokafka client of a process is made. The trap it avoids: for a moment after every reset
uvloop raises RuntimeError when something is written, where aiokafka expects OSError alone (its issue 1038, open), so
one of its tasks ends instead of connecting anew. Is it the one that asks for metadata, then a commit waits for ever:
after 2 of 100 resets a worker stood still until its watchdog ended it, 90 s later.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def end_the_connection() -> None:
    """Let aiokafka's connections in this process end as broken then; a second call changes nothing."""
    from aiokafka.conn import AIOKafkaConnection

    for name in ("send", "_send_sasl_token"):
        stock = getattr(AIOKafkaConnection, name)
        if not hasattr(stock, "__wrapped__"):
            setattr(AIOKafkaConnection, name, _guarded(stock))


def _guarded(send: Callable[..., Any]) -> Callable[..., Any]:
    from aiokafka.conn import CloseReason
    from aiokafka.errors import KafkaConnectionError

    @functools.wraps(send)
    def guarded(connection: Any, *given: Any, **named: Any) -> Any:
        try:
            return send(connection, *given, **named)
        except RuntimeError as error:
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {connection.host}:{connection.port} broken: {error}") from error

    return guarded
