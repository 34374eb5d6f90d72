"""Publishes what a `Source` says, at a rate.

Called by `cli_connector`. The trap it avoids: at a rate, one event at a time leaves; without one, batches do, and
memory stays bounded either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from bus.message import Receipt
from bus.wiring import Bus
from connectors import sending
from connectors.ports import Source

BATCH = 500
_TICK_S = 0.05


class Feed:
    """One run of a source.

    Args:
        bus: connected as the source's agency. rate: events per second; None as fast as it goes.
        stop: asked between batches. sleep, monotonic: seconds.
    """

    def __init__(
        self,
        bus: Bus,
        *,
        rate: float | None,
        stop: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._rate = rate
        self._stop = stop
        self._sleep = sleep
        self._monotonic = monotonic
        self.published = 0

    def run(self, source: Source) -> int:
        """Publish everything, or until `stop`; return how many were acknowledged. Raises BusError."""
        said = source.publications()
        begun = self._monotonic()
        following = next(said, None)  # looked at ahead, so that a slow rate ends with its last event
        while following is not None and not self._stop():
            size = BATCH
            if self._rate is not None:
                size = min(BATCH, int((self._monotonic() - begun) * self._rate) + 1 - self.published)
                if size < 1:
                    self._sleep(_TICK_S)
                    continue
            batch = [following, *islice(said, size - 1)]
            following = next(said, None)
            sending.publish_all(self._bus, batch, stored=self._note, sleep=self._sleep, monotonic=self._monotonic)
        return self.published

    def _note(self, _: Receipt) -> None:
        self.published += 1
