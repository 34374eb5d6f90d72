"""One call of the publisher: its outcomes, and what of it is on its way.

Made by `bus.publish`. The trap it avoids: an event of a key that is sent although one before it, of the same call, has
no acknowledgement; who publishes again what failed would turn them round.
"""

from __future__ import annotations

import asyncio

from msgspec import Struct

from bus.errors import BusError, OutcomeUnknown, Unreachable
from bus.message import Outgoing, Receipt


class Call:
    """Outcomes in the order given, and how many are left; `done` is done when none is.

    An item lives no longer than it is under way: of an event that is settled nothing is left but its outcome.
    """

    __slots__ = ("counts", "done", "held", "inside", "left", "outcomes")

    def __init__(self) -> None:
        self.outcomes: list[Receipt | BusError | None] = []
        self.left = 1  # the call's own hold, so that an early ack does not end the wait
        self.held: set[bytes | None] = set()  # keys of which an event has no acknowledgement
        self.inside = False  # of the publisher's door
        self.counts: dict[str, int] = {}  # partitions by topic; they cannot change before the loop turns
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle_one(self) -> None:
        """One less is left."""
        self.left -= 1
        if self.left == 0 and not self.done.done():
            self.done.set_result(None)

    def hold(self, key: bytes | None, outcome: Receipt | BusError) -> None:
        """After an outcome that asks for another try, hold back what the call says later of this key."""
        if isinstance(outcome, Unreachable | OutcomeUnknown):
            self.held.add(key)


class Item(Struct, eq=False, gc=False):
    """One record on its way.

    Ten thousand may wait at once; that the collector need not look at them is a tenth of the rate. Nothing that an item
    holds leads back to it but the task that sends it, which lets go of it when it ends.

    Args:
        id: of the event. record: its own.
        expires: when to wait no longer, by the clock of the loop, seconds.
        call: whose it is. place: where its outcome goes in there.
        size: bytes, at most.
    """

    id: str
    record: Outgoing
    expires: float
    call: Call
    place: int
    size: int

    def settle(self, outcome: Receipt | BusError) -> None:
        """Tell the call."""
        self.call.outcomes[self.place] = outcome
        self.call.hold(self.record.key, outcome)
        self.call.settle_one()
