"""Chooses TCP ports on loopback. Called by `bus.broker.launcher`.

The trap it avoids: a port picked from the system's ephemeral range can be taken by any outgoing connection in the
seconds before Java binds it, so free ports are picked below that range.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Container, Sequence

from bus.broker.config import HOST, Node
from bus.errors import BusError

DEFAULT = 9092
_LOWEST, _HIGHEST = 20000, 32000  # the ephemeral range starts at 32768 on Linux, 49152 elsewhere


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java does: closed connections do not count
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def any_free(pick: random.Random, *, taken: Container[int], free: Callable[[int], bool] = is_free) -> int:
    """A free port outside `taken`, chosen at random so that two launchers rarely want the same one.

    Args:
        pick: the source of chance.
        taken: ports not to choose.
        free: says whether a port can be listened on.

    Raises:
        BusError: a thousand tries found none.
    """
    for _ in range(1000):
        port = pick.randint(_LOWEST, _HIGHEST)
        if port not in taken and free(port):
            return port
    raise BusError(f"No free port on {HOST} between {_LOWEST} and {_HIGHEST}.", remedy="Give one with --port.")


def choose(
    count: int,
    *,
    port: int | None,
    last: Sequence[Node],
    pick: random.Random,
    free: Callable[[int], bool] = is_free,
) -> tuple[Node, ...]:
    """The ports of `count` nodes: the asked one, else those of last time, else 9092, else free ones.

    Args:
        count: nodes, from 1.
        port: what the user asked for the first node.
        last: the nodes as they last ran, so that an address stays when it can.
        pick: source of randomness.
        free: tells whether a port can be had.

    Raises:
        BusError: the asked port is taken.
    """
    if port is not None and not free(port):
        raise BusError(
            f"Port {port} on {HOST} is taken by another program.", remedy="Leave --port out, or give another."
        )
    taken: set[int] = set() if port is None else {port}
    nodes = []

    def one(wishes: Sequence[int]) -> int:
        found = next((w for w in wishes if w not in taken and free(w)), None)
        chosen = any_free(pick, taken=taken, free=free) if found is None else found
        taken.add(chosen)
        return chosen

    for index in range(count):
        before = [last[index].port] if index < len(last) else []
        first = port if index == 0 else None
        client = first if first is not None else one([*before, *([DEFAULT] if index == 0 else [])])
        nodes.append(Node(index + 1, client, one([])))
    return tuple(nodes)
