"""A connection of pg8000 that tells a lost connection the same way whenever it is noticed.

Used by `connectors.database`. The trap it avoids: while pg8000 waits for an answer it lets a reset or a time-out
through as the bare `OSError`, which SQLAlchemy takes for a fault of the program: the connection would stay in the pool,
and a good event become a dead letter.
"""

from __future__ import annotations

from typing import Any

from pg8000.core import Context
from pg8000.legacy import Connection, InterfaceError


class PostgresConnection(Connection):  # type: ignore[misc]  # pg8000 has no types
    """pg8000's connection; what the network does to it is an `InterfaceError` in the words SQLAlchemy knows."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        try:
            super().__init__(*args, **settings)
        except OSError as error:
            raise InterfaceError("network error") from error

    def handle_messages(self, context: Context) -> None:
        """Read the answers to what was sent; everything that is asked of the server ends here.

        Raises:
            InterfaceError: the connection is lost.
        """
        try:
            super().handle_messages(context)
        except OSError as error:
            raise InterfaceError("network error") from error
