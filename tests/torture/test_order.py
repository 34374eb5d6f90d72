"""Order per key through failures, rebalances and crashes, in memory (R3): see `tests.bus.histories`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.bus.histories import Country, Process, live
from tests.torture.bars import SEED, sized

pytestmark = pytest.mark.torture
REBALANCES = 20


def test_keys_keep_their_order_through_failures_and_twenty_rebalances(bar: Callable[..., None]) -> None:
    keys, each, begun = sized(1_000, 100), 100, time.monotonic()
    world = Country(keys, each)
    world.living = [Process(world)]
    rebalances = steps = was_parked = 0
    while steps % 2_000 or world.missing(world.keys):
        steps += 1
        if steps % (keys * each // 30) == 0 and rebalances < REBALANCES:
            rebalances += 1
            if rebalances % 2:
                world.living.append(Process(world))
            else:
                world.bury(world.living[0])
        if steps % (keys * each // 15) == 0:
            was_parked += world.release_all()
        world.advance(world.chance.choice(world.living))
    inversions = world.ledger.inversions()
    bar(
        "Order per key",
        demanded=f"{keys:,} keys x {each} events, 5 % fail, {REBALANCES} rebalances: no inversion, none lost",
        measured=f"{inversions} inversions, {was_parked:,} entries parked and released, {rebalances} rebalances",
        ok=inversions == 0 and rebalances == REBALANCES and was_parked > keys,
        seconds=time.monotonic() - begun,
        repeated=world.ledger.repeated,
    )


def test_no_history_of_a_group_goes_wrong(bar: Callable[..., None]) -> None:
    count, met, wrong = sized(300, 20), Counter[str](), {}
    for seed in range(SEED, SEED + count):
        world = live(seed)
        met += world.met
        if world.wrong:
            wrong[seed] = world.wrong
    bar(
        "Histories of a group",
        demanded=f"{count:,} seeds of joins, crashes, pauses, outages and releases: nothing lost, no commit too far",
        measured=f"{len(wrong)} wrong; {met['crashes']:,} crashes, {met['joins']:,} joins, {met['zombies']:,} pauses",
        ok=not wrong,
        wrong=wrong,
    )
