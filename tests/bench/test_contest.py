"""How rounds of all sides become bars; the rates themselves are never tested."""

from __future__ import annotations

from tests.bench import worker_wide
from tests.bench.contest import Figure, judged
from tests.bench.sides import (
    AIOKAFKA,
    CONFLUENT,
    CONFLUENT_FENCED,
    FASTSTREAM,
    FAUST,
    PLAIN_FAUST,
    QUIX_STREAMS,
    UNGUARDED,
)
from tests.bench.wide import ANSWERED, TOPIC
from tests.bench.worker import CONTEST

RATES = {
    FAUST: 400.0,
    AIOKAFKA: 600.0,
    PLAIN_FAUST: 100.0,
    CONFLUENT_FENCED: 1_000.0,
    CONFLUENT: 2_000.0,
    UNGUARDED: 750.0,
    QUIX_STREAMS: 500.0,
    FASTSTREAM: 650.0,
}


def test_every_side_has_its_row_and_the_bars_are_those_of_our_faster_host() -> None:
    rows, bars = judged(CONTEST, {side: [Figure(RATES[side], 10.0)] * 3 for side in CONTEST.sides})
    assert {side.name for side in CONTEST.sides} <= {row.name for row in rows}
    assert [(bar.value, bar.holds) for bar in bars] == [
        (6.0, True),
        (0.6, False),
        (1.2, True),
        (600 / 650, False),
        (0.8, True),
    ]
    assert bars[0].name == "our worker, host aiokafka, x plain Faust"


def test_a_peer_with_fewer_guarantees_has_its_ratios_and_no_bar() -> None:
    rows, bars = judged(CONTEST, {side: [Figure(RATES[side], 10.0)] * 3 for side in CONTEST.sides})
    ratios = {row.name: row.value.median for row in rows if CONFLUENT.name in row.name and row.unit == "x"}
    assert ratios == {f"best host, x {CONFLUENT.name}": 0.3, f"CPU of {CONFLUENT.name} over best host's": 1.0}
    assert not [bar for bar in bars if CONFLUENT.name in bar.name]


def test_a_round_is_compared_with_its_own_round_only() -> None:
    figures = {
        side: [Figure(RATES[side], 10.0), Figure(RATES[side] / 3, 30.0), Figure(RATES[side] * 2, 5.0)]
        for side in CONTEST.sides
    }
    _, bars = judged(CONTEST, figures)
    assert round(bars[1].value, 6) == 0.6


def test_the_wide_events_are_followed_by_the_same_peers_under_the_same_demands() -> None:
    wide = worker_wide.CONTEST
    demanded = {side.name: target for side, target in CONTEST.peers.items() if side is not PLAIN_FAUST}
    assert {side.name: target for side, target in wide.peers.items()} == demanded
    assert {(side.source, side.target) for side in wide.sides} == {(TOPIC, ANSWERED)}
    assert [host.name for host in wide.hosts] == [host.name for host in CONTEST.hosts]
