"""Publishes a batch until every event of it is acknowledged, through an outage of the broker.

Called by `feed` (what a source says) and `office` (what an office answers). The trap it avoids: after an answer that
stayed out the whole batch is sent again, or none of it; here only what was not acknowledged goes out again, and its id
is the same, so readers keep one of two.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from bus.errors import BusError, OutcomeUnknown, Unreachable
from bus.message import Receipt
from bus.publish import Publication
from bus.wiring import Bus

_log = logging.getLogger(__name__)
GIVE_UP_S = 120.0  # of an unreachable broker; whoever runs the office starts it again
_PAUSES_S = (0.1, 0.5, 2.0, 5.0)


def publish_all(
    bus: Bus,
    said: Sequence[Publication],
    *,
    stored: Callable[[Receipt], None],
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Publish all of `said`, again and again where the broker does not answer.

    Args:
        bus: connected as the agency that says it.
        said: what to publish.
        stored: told of each receipt as it comes, also when another event of the batch fails.
        sleep: waits so many seconds.
        monotonic: seconds.

    Raises:
        BusError: an event was refused, or the broker has not answered for `GIVE_UP_S`.
    """
    left, pauses, begun = list(said), iter(_PAUSES_S), monotonic()
    while left:
        failed: list[tuple[Publication, BusError]] = []
        for publication, result in zip(left, bus.publish_all(left), strict=True):
            if isinstance(result, Receipt):
                stored(result)
            else:
                failed.append((publication, result))
        if not failed:
            return
        error = next((e for _, e in failed if not isinstance(e, Unreachable | OutcomeUnknown)), None)
        if error is not None or monotonic() - begun > GIVE_UP_S:
            raise error or failed[0][1]
        _log.warning("%s %d of %d events wait, and are sent again.", failed[0][1], len(failed), len(said))
        left = [publication for publication, _ in failed]
        sleep(next(pauses, _PAUSES_S[-1]))
