"""What the kafka-python files share: options, error translation, and the guard of what is read.

Called by kafka_consumer, kafka_reader, kafka_admin and kafka_facts; kafka_producer takes the one sentence. The traps it
avoids: a consumer built without the splitter spins for ever on one bad record, and parses in Python at that (41.8 us a
record against 9.5, research/poison.md 2); the client's errors would otherwise leak into every caller.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from bus.errors import Refused, Unreachable
from bus.transport.splitter import install

REMEDY = "Start a broker with `agencybus up`, or name a running one with --bootstrap HOST:PORT."
_KNOCK_S = 3.0
_TRIES, _BETWEEN_S = 5, 0.1
_BOOTSTRAP_MS = 5_000  # long enough for a broker that is just starting to listen, short enough for a person
T = TypeVar("T")


# The clients' own log lines ("Unable connect to ...") go where a program's logging sends them, and nowhere without one:
# what matters reaches the user as an error of ours.
for _name in ("aiokafka", "kafka"):
    logging.getLogger(_name).addHandler(logging.NullHandler())


def options(bootstrap: str, client_id: str) -> dict[str, Any]:
    """Constructor options that every kafka-python client of ours is given.

    Raises:
        Unreachable: nothing listens. Refused: a codec of Kafka's is missing, or this client cannot be guarded.
    """
    _knock(bootstrap)
    install.into_kafka_python()
    close_what_does_not_connect()
    return {
        "bootstrap_servers": bootstrap.split(","),
        "client_id": client_id,
        "bootstrap_timeout_ms": _BOOTSTRAP_MS,
        "reconnect_backoff_max_ms": 1_000,  # the default of 30 s keeps a client away long after the broker is back
    }


@cache
def close_what_does_not_connect() -> None:
    """Let kafka-python close a socket whose connecting ends early: by a refusal, a limit, or because its client closes.

    It leaves such a socket open until the garbage is collected, and the warning of that hits whatever runs then.
    """
    from kafka.net.inet import KafkaNetSocket

    connect = KafkaNetSocket.sock_connect

    async def connected(self: Any, net: Any, sock: Any, *told: Any, **more: Any) -> Any:
        try:
            return await connect(self, net, sock, *told, **more)
        except BaseException:  # GeneratorExit too: so the client's loop ends what is under way when it closes
            sock.close()
            raise

    KafkaNetSocket.sock_connect = connected


def _knock(bootstrap: str) -> None:
    """Raise Unreachable when no address takes a connection; kafka-python would try for its whole bootstrap time."""
    refusal: object = "no address"
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
        except (OSError, ValueError) as error:
            refusal = getattr(error, "strerror", None) or type(error).__name__
        else:
            return
    raise unreachable(bootstrap, refusal)


def unreachable(bootstrap: str, cause: object) -> Unreachable:
    """The one sentence for a cluster that does not answer."""
    return Unreachable(f"No Kafka broker answers at {bootstrap} ({cause}).", remedy=REMEDY)


@contextmanager
def translated(bootstrap: str, doing: str) -> Iterator[None]:
    """Turn kafka-python's errors into ours around one call.

    Args:
        bootstrap: for the message.
        doing: what was tried, e.g. ``create topic x``.

    Raises:
        Unreachable: for connection and time-out errors and those Kafka marks retriable.
        Refused: for every other error a broker answers with.
    """
    import kafka.errors as ke

    try:
        yield
    except ke.KafkaError as error:
        name = type(error).__name__
        if error.retriable or isinstance(error, (ke.KafkaTimeoutError, ke.UnknownBrokerIdError)):
            raise unreachable(bootstrap, f"{doing}: {name}") from error
        raise Refused(f"Kafka refused to {doing}: {name}: {error}") from error
    except (OSError, TimeoutError) as error:
        raise unreachable(bootstrap, f"{doing}: {error}") from error


def asked(bootstrap: str, doing: str, call: Callable[[], T], *, sleep: Callable[[float], None] = time.sleep) -> T:
    """What `call` answers; where the broker it was sent to takes no connection, it is sent again, to another.

    kafka-python picks any broker of the cluster for a question, also one that died a moment ago and is still listed: of
    three with one away, every third question failed with "no broker answers" (tests/torture/test_three_brokers.py).

    Args:
        bootstrap: for the message.
        doing: what was tried, e.g. ``list topics``.
        call: changes nothing on the cluster, so asking twice does no harm.
        sleep: waits so many seconds.

    Raises:
        Unreachable, Refused: as `translated`.
    """
    import kafka.errors as ke

    for left in range(_TRIES - 1, -1, -1):
        with translated(bootstrap, doing):
            try:
                return call()
            except (ke.KafkaConnectionError, ke.NodeNotReadyError):
                if not left:
                    raise
        sleep(_BETWEEN_S)
    raise AssertionError("the last try returns or raises")
