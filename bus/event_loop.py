"""The event loop of everything that runs: uvloop's, where it is made.

Called by the synchronous face of the bus and by workers, whose every loop is one of these: a library that starts a
thread of its own makes the slow one when it is not told.
"""

from __future__ import annotations

import asyncio


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A new loop, not running; who asks for it closes it."""
    try:
        import uvloop
    except ImportError:  # not made for Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
