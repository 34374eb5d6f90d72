"""A door that is passed one at a time, in the order of asking, until a moment.

Called by the publisher, whose events may not overtake each other while they wait. The trap it avoids: a caller that
comes between the moment a place is free and the moment the one who waits for it runs.
"""

from __future__ import annotations

import asyncio


class Door:
    """`asyncio.Lock` is fair too, but a wait with a deadline costs more than it; here only who must wait pays."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def enter(self, give_up: float) -> None:
        """Pass, after all who came before; then `leave` must follow.

        Args:
            give_up: when to wait no longer, by the clock of the running loop, seconds.

        Raises:
            TimeoutError: then it was not passed.
        """
        if self._waiting == 0 and not self._lock.locked():
            await self._lock.acquire()  # at once
            return
        self._waiting += 1
        try:
            async with asyncio.timeout_at(give_up):
                await self._lock.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Let the next one pass."""
        self._lock.release()
