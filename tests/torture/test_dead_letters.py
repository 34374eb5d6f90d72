"""The bars of dead letters on real Kafka: redriven twice in live traffic, a thousand in a few actions, killed midway.

Of each the table of effects is checked, or the rows that stand on Kafka, never the command's word alone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

import pytest

from bus.cli.main import main
from bus.message import Partition
from bus.middleware.parking import unpack
from bus.settings import Settings
from bus.testing import eventually
from bus.transport.kafka import KafkaTransport
from bus.wiring import Bus, connect
from tests.bus.letters import PARTITIONS, fill, make_topics
from tests.bus.offices import ERRORS, KEYS, Capture, Desk, Table, an_office, request, start_at_the_end
from tests.torture.bars import SEED, sized

pytestmark = [pytest.mark.kafka, pytest.mark.torture]
BEFORE, LIVE = sized(1_200, 240), sized(2_500, 500)
LETTERS, KILLS, CHUNK = sized(1_000, 1_000), sized(30, 2), 50
BarOf = Callable[..., None]


def test_redriving_all_twice_during_live_traffic_changes_no_effect_and_no_order(
    kafka: str, fresh: Callable[[str], str], capsys: Capture, bar: BarOf
) -> None:
    group = fresh("office")
    start_at_the_end(kafka, group)
    settings, desk, table = Settings(bootstrap=kafka, agency="interior"), Desk(kafka, group, capsys), Table()
    with connect(settings=settings) as bus, an_office(bus, group, table) as office:
        for number in range(BEFORE):
            bus.publish(request(number), case=f"{group}-{number % KEYS}")
        refused = [n for n in range(BEFORE) if n % 3 == 0]
        eventually(lambda: office.handled >= BEFORE - len(refused), within_s=120)
        eventually(lambda: _ends(kafka, f"{group}.dead", 1)[0] >= len(refused), within_s=120)
        assert desk.counts() == (len(refused), 0, 0)
        assert {one["error"] for one in desk.run("dlq", "list")["causes"]} == set(ERRORS)
        office.broken = False

        live = threading.Thread(target=_publish, args=(bus, group), daemon=True)
        live.start()
        # In several chunks: within one the reader itself would put a key's records in order.
        rate = str(len(refused) / 4)
        first = desk.run("dlq", "redrive", "--all", "--rate", rate, "--reason", "rules mended")
        again = desk.run("dlq", "redrive", "--all", "--rate", "max", "--again")
        live.join(300)
        assert (first["letters"], again["letters"]) == (len(refused), len(refused))
        eventually(lambda: len(table.effects) >= BEFORE + LIVE, within_s=120)
        eventually(lambda: desk.run("parked", "list")["parked"] == [], within_s=120)
        assert desk.counts() == (0, len(refused), 0)
    assert max(table.offered.values()) > 1, "no event was ever offered twice: nothing was tested"
    wrong = Counter(number for _, number in table.effects)
    wrong.subtract(range(BEFORE + LIVE))
    doubled, lost = sum(n for n in wrong.values() if n > 0), -sum(n for n in wrong.values() if n < 0)
    turned = _inversions(table.effects, set(refused))
    bar(
        "Redrive twice in live traffic",
        demanded=f"{len(refused)} letters twice beside {LIVE} live events: 0 lost, 0 double, 0 inversions a key",
        measured=f"{lost} lost, {doubled} double, {turned} inversions",
        ok=not lost and not doubled and not turned,
        letters=len(refused),
        live=LIVE,
        offered_again=sum(n - 1 for n in table.offered.values()),
    )


def _inversions(effects: list[tuple[str, int]], back: set[int]) -> int:
    """How often a live event follows a later one of its key, or a redriven one follows a later redriven one."""
    lanes: dict[tuple[str, bool], list[int]] = defaultdict(list)
    for key, number in effects:
        lanes[key, number in back].append(number)
    return sum(one > two for numbers in lanes.values() for one, two in pairwise(numbers))


def _publish(bus: Bus, group: str) -> None:
    for number in range(BEFORE, BEFORE + LIVE):
        bus.publish(request(number), case=f"{group}-{number % KEYS}")
        time.sleep(0.01)  # spreads the traffic over the redrive; nothing waits for it


def _ends(kafka: str, topic: str, partitions: int) -> list[int]:
    """How many records each partition of a topic has had."""
    reader = KafkaTransport(bootstrap=kafka).reader()
    try:
        return [end for _, end in reader.bounds([Partition(topic, n) for n in range(partitions)]).values()]
    finally:
        reader.close()


def test_a_thousand_letters_of_three_causes_take_one_action_each_and_none_is_lost_from_the_count(
    kafka: str, fresh: Callable[[str], str], capsys: Capture, bar: BarOf
) -> None:
    group = fresh("office")
    assert main(["topics", "apply", "--bootstrap", kafka]) == 0
    transport, desk = KafkaTransport(bootstrap=kafka), Desk(kafka, group, capsys)
    make_topics(transport, group=group)
    fill(transport, LETTERS, group=group)
    began, sums = time.monotonic(), []
    found = desk.run("dlq", "list")["causes"]
    causes = {one["error"]: (one["cause"], one["open"]) for one in found}
    assert set(causes) == {"Poison", "ValueError", "Refused"}
    dropped = desk.run("dlq", "drop", "--cause", causes["Poison"][0], "--reason", "sent again")
    sums.append(desk.counts())
    for error in ("ValueError", "Refused"):
        cause, many = causes[error]
        assert desk.run("dlq", "redrive", "--cause", cause, "--rate", "max")["letters"] == many
        sums.append(desk.counts())
    seconds = time.monotonic() - began
    assert sums[-1] == (0, LETTERS - dropped["letters"], dropped["letters"])
    assert desk.run("dlq", "undo", dropped["action"])["letters"] == causes["Poison"][1]
    sums.append(desk.counts())
    assert sums[-1][0] == causes["Poison"][1]
    bar(
        "Dead letters of three causes",
        demanded=f"{LETTERS:,} letters, one action a cause, open + redriven + dropped = {LETTERS:,} throughout",
        measured=f"3 actions, sums {sorted({sum(one) for one in sums})}, {seconds:.1f} s",
        ok={sum(one) for one in sums} == {LETTERS},
        seconds=seconds,
    )


def test_a_redrive_that_is_killed_again_and_again_ends_with_each_letter_given_back(
    kafka: str, fresh: Callable[[str], str], capsys: Capture, bar: BarOf
) -> None:
    group, letters = fresh("office"), (KILLS + 2) * CHUNK
    assert main(["topics", "apply", "--bootstrap", kafka]) == 0
    transport, desk = KafkaTransport(bootstrap=kafka), Desk(kafka, group, capsys)
    make_topics(transport, group=group)
    records = fill(transport, letters, group=group)
    words = ["dlq", "redrive", "--all", "--group", group, "--bootstrap", kafka]
    struck = 0
    for turn in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, "-m", "bus.cli.main", *words, "--rate", str(CHUNK)],
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert process.stderr is not None
        process.stderr.readline()  # a chunk is on record
        time.sleep((turn * 0.618 + SEED % 7 / 7) % 1 * 0.9)  # somewhere in the next chunk
        process.kill()
        struck += process.wait() == -9
        process.stderr.close()
        assert sum(desk.counts()) == letters
    desk.run("dlq", "redrive", "--all", "--rate", "max")
    counts, given = desk.counts(), _given(kafka, group)
    wanted = {(one.partition, one.offset) for one in records}
    lost, extra = len(wanted - given.keys()), given.total() - letters
    bar(
        "Redrive killed midway",
        demanded=f"{KILLS} SIGKILLs: each of {letters:,} letters given back, at most {CHUNK} repeated a kill",
        measured=f"{struck} kills, {lost} lost, {extra} repeated, counts {counts}",
        ok=not lost and given.keys() == wanted and extra <= struck * CHUNK and counts == (0, letters, 0),
        kills=struck,
        repeated=extra,
    )


def _given(kafka: str, group: str) -> Counter[tuple[int, int]]:
    """How often each record stands on the group's topic of parked records; nobody has compacted it yet."""
    reader = KafkaTransport(bootstrap=kafka).reader()
    found: Counter[tuple[int, int]] = Counter()
    try:
        for number, end in enumerate(_ends(kafka, f"{group}.parked", PARTITIONS)):
            for row in reader.read(Partition(f"{group}.parked", number), 0, end):
                record = unpack(row.value or b"").record
                found[record.partition, record.offset] += 1
    finally:
        reader.close()
    return found
