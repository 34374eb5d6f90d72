"""A door that is passed one at a time, in the order of asking, until a moment.

Called by the publisher, whose events may not overtake each other while they wait. The trap it avoids: a caller that
comes between the moment a place is free and the moment the one who waits for it runs.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Door:
    """Unlike `asyncio.Lock`, it can be passed without a coroutine when it is free, and waited for until a moment."""

    def __init__(self) -> None:
        self._taken = False
        self._line: deque[asyncio.Future[None]] = deque()

    def try_enter(self) -> bool:
        """Pass when it is free; then `leave` must follow."""
        if self._taken:
            return False
        self._taken = True
        return True

    async def enter(self, give_up: float) -> None:
        """Pass, after all who came before; then `leave` must follow.

        Args:
            give_up: when to wait no longer, by the clock of the running loop, seconds.

        Raises:
            TimeoutError: then it was not passed.
        """
        if self.try_enter():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout_at(give_up):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.leave()  # its turn came when it could wait no longer
            raise

    def leave(self) -> None:
        """Let the next one pass: it stays taken for that one, whoever asks before it runs."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken = False
