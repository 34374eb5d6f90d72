"""F1, F2, F3, F5: what is committed. Stock counts acks and gaps; ours commits what the runner has stored and sent."""

from __future__ import annotations

from typing import Any

import pytest

from bus.message import Partition
from tests.agents.traps.support import HERE, Runs, acking, commits, keep, message, ours, stock, stock_is_trapped

LOWEST = Partition(*HERE)


async def after(app: Any, monkeypatch: pytest.MonkeyPatch, *, committed: int | None, acked: list[int]) -> int | None:
    """What is committed at HERE after these acks."""
    consumer = acking(app)
    consumer._committed_offset[HERE] = committed
    for offset in acked:
        consumer.ack(message(offset))
    return (await commits(app, monkeypatch)).get(HERE)


def never_past(found: int | None, in_flight: int) -> None:
    keep(found is None or found <= in_flight, f"committed {found} while {in_flight} is in flight")


async def test_F01_a_commit_never_passes_an_event_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    host = ours(Runs({LOWEST: 2585}))
    never_past(await after(host.app, monkeypatch, committed=2585, acked=[2586, 2587, 2588, 2589]), 2585)
    fresh = ours(Runs())
    never_past(await after(fresh.app, monkeypatch, committed=None, acked=[1, 2, 3]), 0)
    with stock_is_trapped():
        never_past(await after(stock(), monkeypatch, committed=2585, acked=[2586, 2587, 2588, 2589]), 2585)
    with stock_is_trapped():
        never_past(await after(stock(), monkeypatch, committed=None, acked=[1, 2, 3]), 0)


async def test_F02_the_record_after_a_gap_does_not_count_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gap(app: Any) -> int | None:
        consumer = acking(app)
        consumer._committed_offset[HERE] = 100
        await consumer._add_gap(HERE, 101, 103)  # as the drain loop calls it: read 100, then 103
        return await after(app, monkeypatch, committed=100, acked=[100, 104])

    never_past(await gap(ours(Runs({LOWEST: 103})).app), 103)
    with stock_is_trapped():
        never_past(await gap(stock()), 103)


async def test_F03_commits_go_on_where_offsets_have_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    def goes_on(found: int | None) -> None:
        keep(found == 6, f"all is done up to 6, committed {found}")

    goes_on(await after(ours(Runs({LOWEST: 6})).app, monkeypatch, committed=1, acked=[3, 4, 5]))
    with stock_is_trapped():
        goes_on(await after(stock(), monkeypatch, committed=1, acked=[3, 4, 5]))


async def test_F05_an_event_that_was_never_acked_is_not_stepped_over(monkeypatch: pytest.MonkeyPatch) -> None:
    never_past(await after(ours(Runs({LOWEST: 3})).app, monkeypatch, committed=3, acked=[4, 5]), 3)
    with stock_is_trapped():
        never_past(await after(stock(), monkeypatch, committed=3, acked=[4, 5]), 3)
