"""Publishing: our typed, validated, acknowledged events against bare clients sending ready bytes.

Called by `tests.bench.__main__`; each measurement is one of the `send_*` programs in a process of its own, which prints
its seconds and CPU. The trap it avoids: a client that only queued; every program ends when all is acknowledged.
"""

from __future__ import annotations

import json
import uuid

from tests.bench.child import result_of
from tests.bench.cluster import Cluster
from tests.bench.recorded import TOPIC
from tests.bench.report import Bar, Report, Row, Say
from tests.bench.statistics import Void, ratios, spread

NAME = "publish"
MANY = "ours, publish_all"
EACH = "ours, publish, one task per event"
KAFKA_PYTHON = "bare kafka-python send"
AIOKAFKA = "bare aiokafka send"
PROGRAMS = {
    MANY: ("tests.bench.send_ours", "all"),
    KAFKA_PYTHON: ("tests.bench.send_kafka_python",),
    EACH: ("tests.bench.send_ours", "each"),
    AIOKAFKA: ("tests.bench.send_aiokafka",),
}


def measure(cluster: Cluster, *, rounds: int, events: int, say: Say) -> Report:
    """Run every program `rounds` times, interleaved, on the topic of recorded events.

    Raises:
        Void: when a program failed or not all of its records are stored.
    """
    cluster.create(TOPIC)
    rates: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    cpu: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for number in range(rounds):
        for name, (module, *words) in PROGRAMS.items():
            before = sum(cluster.ends(TOPIC).values())
            run = f"pub-{uuid.uuid4().hex[:8]}"
            told = json.loads(result_of(module, [cluster.bootstrap, str(events), run, *words]))
            stored = sum(cluster.ends(TOPIC).values()) - before
            if stored != events:
                raise Void(f"{name}: {stored} of {events} records are stored")
            rates[name].append(events / told["seconds"])
            cpu[name].append(told["cpu_s"] / events * 1e6)
            say(f"publish {number + 1}/{rounds} {name}: {rates[name][-1]:.0f}/s, {cpu[name][-1]:.0f} us CPU")
    rows = [
        Row(name, "events/s", spread(found), spread(ratios(found, rates[KAFKA_PYTHON])), spread(cpu[name]))
        for name, found in rates.items()
    ]
    bars = [
        Bar(f"{MANY}, x {KAFKA_PYTHON}", spread(ratios(rates[MANY], rates[KAFKA_PYTHON])).median, 4.0, at_least=True),
        Bar(f"{MANY}, x {AIOKAFKA}", spread(ratios(rates[MANY], rates[AIOKAFKA])).median, 0.5, at_least=True),
    ]
    return Report(NAME, f"{events} events of one type, replicated ack each; ratio to {KAFKA_PYTHON}", rows, bars)
