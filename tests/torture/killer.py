"""Kills, pauses and restarts processes by a schedule that follows from a seed.

Used by the kill tests. `schedule` is pure. The traps it avoids: kills that come in a heap and then not at all (each
kind is spread over the run), a process that is killed before it ever did anything because it is slow to start (a zygote
forks it), and a signal to a stranger's pid (only the zygote, their parent, signals).
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from tests.torture.history import Recorder

Do = Literal["kill", "pause"]
_AGAIN_S = 0.5  # before one that ended by itself is started again, as its supervisor would
_READY_S = 60.0


class Share(NamedTuple):
    """How often something is done to a kind of process, and for how long each time (seconds, least and most).

    A killed one stays away for that long; `many` are struck at the same moment.
    """

    kind: str
    do: Do
    times: int
    seconds: tuple[float, float] = (0.0, 0.3)
    many: int = 1


class Strike(NamedTuple):
    """One entry of a schedule: `at` seconds after the start, on these members of the kind (from 0)."""

    at: float
    kind: str
    do: Do
    members: tuple[int, ...]
    seconds: float


def schedule(seed: int, shares: Sequence[Share], members: Mapping[str, int], *, seconds: float) -> list[Strike]:
    """When what is done to whom: each share is spread evenly over the run, by chance within its turn.

    Args:
        seed: of chance. shares: what is to be done. members: how many processes of each kind there are.
        seconds: length of the run.
    """
    chance = random.Random(seed)
    found: list[Strike] = []
    for share in shares:
        for turn in range(share.times):
            at = (turn + chance.random()) / share.times * seconds
            whom = tuple(sorted(chance.sample(range(members[share.kind]), share.many)))
            found.append(Strike(round(at, 3), share.kind, share.do, whom, round(chance.uniform(*share.seconds), 3)))
    return sorted(found)


@dataclass(slots=True, eq=False)
class _Child:
    tag: str
    code: int | None = None


class Zygote:
    """The parent of the actors. Use as a context manager.

    Args:
        modules: imported before the first fork. env: of it and its children.
    """

    def __init__(self, modules: Sequence[str], env: Mapping[str, str]) -> None:
        self._children: dict[str, _Child] = {}
        self._ready = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.torture.zygote", *modules],
            env=dict(env),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def __enter__(self) -> Self:
        assert self._ready.wait(_READY_S), "the zygote is not ready"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(_READY_S)
        self._listener.join()
        self._process.stdout.close()

    def start(self, tag: str, target: str, arguments: Mapping[str, Any], log: Path) -> _Child:
        """Fork an actor: ``module:function`` with these arguments, its output in `log`."""
        child = self._children[tag] = _Child(tag)
        self._tell("start", tag, target, dict(arguments), str(log))
        return child

    def signal(self, child: _Child, number: int) -> None:
        """Signal a child; one that has ended is left alone."""
        self._tell("signal", child.tag, int(number))

    def _tell(self, *words: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            tag, code = json.loads(line)
            if tag == "ready":
                self._ready.set()
            else:
                self._children[tag].code = code


class Member:
    """One place in the cast of a run: a process that is started again whenever it has ended, unless it ended well.

    One that ended well is `finished`, as it would be for a supervisor.

    Args:
        name: of the place. zygote: starts it. target, arguments: as `Zygote.start`; each incarnation is also given
            `actor`, its own name. folder: where its output goes. recorder: notes what is done to it.
    """

    def __init__(
        self,
        name: str,
        target: str,
        arguments: Mapping[str, Any],
        *,
        zygote: Zygote,
        folder: Path,
        recorder: Recorder,
    ) -> None:
        self.name = name
        self.kills = 0
        self.ends: list[int] = []  # exit codes of incarnations that ended by themselves and not well
        self.finished = False
        self._target, self._arguments = target, arguments
        self._zygote, self._folder, self._recorder = zygote, folder, recorder
        self._child: _Child | None = None
        self._incarnation = 0
        self._due = 0.0
        self._killed = False

    def tend(self, now: float) -> None:
        """Note an end, and start it when its time has come."""
        child = self._child
        if child is not None and child.code is not None:
            self._child = None
            if child.code == 0:
                self.finished = True
            elif not self._killed:
                self.ends.append(child.code)
                self._due = now + _AGAIN_S
        if self._child is None and not self.finished and now >= self._due:
            self._incarnation += 1
            self._killed = False
            actor = f"{self.name}.{self._incarnation}"
            self._recorder.note("started", actor=actor)
            arguments = {**self._arguments, "actor": actor}
            self._child = self._zygote.start(actor, self._target, arguments, self._folder / f"{self.name}.log")

    @property
    def strikable(self) -> bool:
        """Whether there is a process to strike."""
        return self._child is not None and self._child.code is None and not self._killed

    def kill(self, *, away_until: float) -> None:
        """SIGKILL it; it is started again after `away_until`."""
        assert self._child is not None
        self._recorder.note("killed", actor=self._child.tag)
        self._zygote.signal(self._child, signal.SIGKILL)
        self._killed, self._due = True, away_until
        self.kills += 1

    def pause(self) -> Callable[[], None]:
        """SIGSTOP it; returns what resumes it."""
        child = self._child
        assert child is not None
        self._recorder.note("paused", actor=child.tag)
        self._zygote.signal(child, signal.SIGSTOP)

        def resume() -> None:
            self._recorder.note("resumed", actor=child.tag)
            self._zygote.signal(child, signal.SIGCONT)

        return resume


class Cast:
    """All members of a run and the strikes against them; turned by hand, so that one loop drives everything.

    Args:
        members: by kind. strikes: of a schedule, those against these kinds.
    """

    def __init__(self, members: Mapping[str, Sequence[Member]], strikes: Sequence[Strike]) -> None:
        self.members = members
        self._left = list(strikes)
        self._resumes: list[tuple[float, Callable[[], None]]] = []

    @property
    def struck_out(self) -> bool:
        """Whether nothing is left to be done to anyone."""
        return not self._left and not self._resumes

    def turn(self, since: float, now: float) -> None:
        """Do what is due.

        Args:
            since: seconds since the schedule began; before 0 nothing is struck. now: monotonic seconds.
        """
        for moment, resume in [entry for entry in self._resumes if entry[0] <= now]:
            resume()
            self._resumes.remove((moment, resume))
        for members in self.members.values():
            for member in members:
                member.tend(now)
        for strike in [strike for strike in self._left if strike.at <= since]:
            self._strike(strike, now)

    def _strike(self, strike: Strike, now: float) -> None:
        """Strike the member named, or another of its kind when that one is away; or wait for the next turn."""
        kind = self.members[strike.kind]
        order = [*strike.members, *(index for index in range(len(kind)) if index not in strike.members)]
        able = [kind[index] for index in order if kind[index].strikable]
        if all(member.finished for member in kind):
            self._left.remove(strike)
        elif able:
            self._left.remove(strike)
            if strike.do == "kill":
                able[0].kill(away_until=now + strike.seconds)
            else:
                self._resumes.append((now + strike.seconds, able[0].pause()))
