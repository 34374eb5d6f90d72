"""One process per static member name: a worker looks whether another, living one holds its ``--instance``.

Called by `agents.worker` before it joins. Kafka lets the newcomer push the holder out; the holder ends, its supervisor
starts it again, it pushes the newcomer out, and so for ever. The rule here: who finds the name held by another process
waits for as long as a dead holder's session can last. A dead one is gone then, and its partitions are taken over as if
it had never moved; a living one keeps the name, and the other ends with a sentence, for good. The same supervisor's
next child, and a holder on this machine whose process is gone, need no waiting: they come back at once.
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Sequence

from bus.errors import UsageError
from bus.transport.kafka_facts import Member

_LOOK_EVERY_S = 0.5
_MARGIN_S = 2.0  # the broker looks for ended sessions now and then
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")  # clients' names go into metric names


def client_id(group: str, *, host: str | None = None, supervisor: int | None = None) -> str:
    """How a worker calls itself in its group: the same over restarts by one supervisor, different for any other.

    Args:
        group: its consumer group.
        host: default this machine's name.
        supervisor: pid of its supervisor; None for this process.
    """
    place = _UNSAFE.sub("-", host or socket.gethostname())
    return f"{group}-{place}-{os.getpid() if supervisor is None else supervisor}"


def holder(members: Sequence[Member], instance: str, mine: str) -> Member | None:
    """The member that has the name `instance` and is not the process that calls itself `mine`."""
    return next((m for m in members if m.instance == instance and m.client_id != mine), None)


def keep_name(
    look: Callable[[], Sequence[Member]],
    *,
    instance: str,
    mine: str,
    session_s: float,
    say: Callable[[str], None],
    alive: Callable[[int], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once no other living process has the name.

    Args:
        look: the group's members now.
        instance: the static name.
        mine: this process's client id.
        session_s: seconds after which the group forgets a dead member.
        say: takes a line about what is waited for.
        alive: whether a pid of this machine runs; None asks the system.
        clock: monotonic seconds.
        sleep: waits so many seconds.

    Raises:
        UsageError: another process has it and lives. Unreachable.
    """
    give_up = clock() + session_s + _MARGIN_S
    waited = False
    while (other := holder(look(), instance, mine)) is not None:
        if _gone(other.client_id, mine, alive or _runs):
            return
        if clock() > give_up:
            raise UsageError(
                f"Another worker runs as --instance {instance}: {other.client_id} at {other.host}.",
                remedy="Give each worker its own name, or stop the other one; this one ends and changes nothing.",
            )
        if not waited:
            waited = True
            say(f"--instance {instance} belongs to {other.client_id}; waiting whether it lives")
        sleep(_LOOK_EVERY_S)


def _gone(other: str, mine: str, alive: Callable[[int], bool]) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    place, _, number = other.rpartition("-")
    return place == mine.rpartition("-")[0] and number.isascii() and number.isdecimal() and not alive(int(number))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
