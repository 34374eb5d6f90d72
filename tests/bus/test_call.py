"""What a call is told of its items."""

from __future__ import annotations

import pytest

from bus.call import Call, Item
from bus.errors import BusError, OutcomeUnknown, Refused, Unreachable
from bus.message import Outgoing, Receipt


def item(call: Call, place: int, key: bytes) -> Item:
    call.outcomes.append(None)
    call.left += 1
    return Item("e", Outgoing(key, b"v"), 0.0, call, place, 10)


async def test_a_call_is_done_when_its_own_hold_and_all_its_items_are_settled() -> None:
    call = Call()
    items = [item(call, place, b"k") for place in range(2)]
    receipts = [Receipt("t", 0, offset, "e") for offset in range(2)]
    for one, receipt in reversed(list(zip(items, receipts, strict=True))):
        one.settle(receipt)
        assert not call.done.done()
    call.settle_one()
    assert call.done.done()
    assert call.outcomes == receipts


@pytest.mark.parametrize(
    ("outcome", "held"),
    [
        (Unreachable("away."), True),
        (OutcomeUnknown("no answer.", event_id="e"), True),
        (Refused("no.", field="data"), False),
        (Receipt("t", 0, 0, "e"), False),
    ],
)
async def test_a_key_is_held_back_after_an_outcome_that_asks_for_another_try(
    outcome: Receipt | BusError, held: bool
) -> None:
    call = Call()
    item(call, 0, b"k").settle(outcome)
    assert call.held == ({b"k"} if held else set())
