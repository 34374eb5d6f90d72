"""Our command with the benchmark's wide contracts in the catalogue; nothing else of it is changed.

Started by `tests.bench.sides` as ``python -m tests.bench.wide_worker worker run ...``, without the supervisor, whose
child would be the plain command. The trap it avoids: contracts made for measuring that ship with the package.
"""

from __future__ import annotations

import os

from agents.supervisor import CHILD
from bus.cli.main import run
from schemas import catalogue
from tests.bench.wide import wider


def main() -> None:
    """Run the command in this process, which ends with the one that started it."""
    known = wider()
    catalogue.standard = lambda: known
    os.environ[CHILD] = str(os.getppid())
    run()


if __name__ == "__main__":
    main()
