"""The tests' end of `tests.bad_input.zygote`: run one command line, get what it said and what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Ran:
    """What one command did.

    Args:
        code: exit code. out, err: what it wrote. cpu_s: processor seconds. grown_mb: memory beyond the warm process.
        hung: it was killed after `TIMEOUT_S`.
    """

    code: int
    out: str
    err: str
    cpu_s: float
    grown_mb: float
    hung: bool


class Runner:
    """A warm process that forks for every command."""

    def __init__(self) -> None:
        env = {name: text for name, text in os.environ.items() if not name.startswith("AGENCYBUS")}
        root = str(Path(__file__).parents[2])
        env |= {"PYTHONPATH": os.pathsep.join([root, env.get("PYTHONPATH", "")])}
        env |= {"AGENCYBUS__DATA_DIR": "/nonexistent/agencybus"}  # no local broker of this user is found
        command = [sys.executable, "-m", "tests.bad_input.zygote"]
        self._process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(
        self,
        words: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        unprivileged: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Ran:
        """Run ``agencybus WORDS`` in `folder`."""
        job = {
            "words": list(words),
            "folder": str(folder),
            "environment": dict(environment or {}),
            "unprivileged": unprivileged,
            "timeout_s": timeout_s,
        }
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the warm process ended with {self._process.poll()}"
        return Ran(**json.loads(answer))

    def close(self) -> None:
        """End the warm process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT_S)
        self._process.stdout.close()
