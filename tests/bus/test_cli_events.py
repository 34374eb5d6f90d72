"""The event commands' own functions over memory, and their exit codes through the command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bus.cli.events import print_events, publish_lines
from bus.cli.main import main
from bus.consume import open_record
from bus.json_lines import parser_of
from bus.message import Outgoing, Partition
from bus.testing import memory_bus, memory_cluster
from bus.transport.kafka import KafkaTransport
from bus.transport.memory import MemoryCluster
from bus.wiring import connect
from schemas.requests import RequestCreated
from tests.bus.delivery import outgoing
from tests.bus.support import CATALOGUE, TOPIC, NoteWritten, PlainCodec

PLACE = Partition(TOPIC, 0)
OPENER = partial(open_record, catalogue=CATALOGUE, codec=PlainCodec())


def publish(cluster: MemoryCluster, text: bytes, *, stop: threading.Event | None = None) -> tuple[int, list[dict]]:  # type: ignore[type-arg]
    out = io.StringIO()
    with memory_bus(cluster, agency="portal", catalogue=CATALOGUE) as bus:
        failed = publish_lines(
            io.BytesIO(text).read, parser_of(NoteWritten), bus.publish_all, out=out, stop=stop or threading.Event()
        )
    return failed, [json.loads(line) for line in out.getvalue().splitlines()]


def test_each_line_has_one_result_in_order_and_a_refusal_does_not_end_the_run() -> None:
    lines = [
        b'{"case":"c","data":{"text":"a"},"id":"e-1","time":"2026-01-05T08:00:00Z"}',
        b'{"case":"c","data":{"text":7}}',
        b"nonsense",
        b"\xff\xfe",
        b'{"case":"c","data":{"text":"a"},"more":1}',
        b'{"data":{"text":"a"}}',
        b'{"case":"c","data":{"text":"a"},"time":"2026-01-05T08:00:00"}',
        b'{"case":"c","data":{"text":"last"}}',
    ]
    failed, results = publish(memory_cluster(TOPIC), b"\n".join(lines))
    assert failed == 6
    assert [(r["line"], r["status"], r.get("field")) for r in results] == [
        (1, "acknowledged", None),
        (2, "refused", "data.text"),
        (3, "refused", "line"),
        (4, "refused", "line"),
        (5, "refused", "more"),
        (6, "refused", "case"),
        (7, "refused", "time"),
        (8, "acknowledged", None),
    ]
    assert results[0]["id"] == "e-1"
    assert set(results[0]) == {"line", "status", "topic", "partition", "offset", "id"}


def test_a_lost_ack_is_unknown_with_the_id_and_sending_the_file_again_gives_the_same_ids() -> None:
    cluster = memory_cluster(TOPIC)
    text = b'{"case":"c","data":{"text":"a"}}'
    cluster.faults.lost_acks = 1
    failed, (lost,) = publish(cluster, text)
    assert (failed, lost["status"]) == (1, "unknown")
    failed, (sent,) = publish(cluster, text)
    assert (failed, sent["status"], sent["id"]) == (0, "acknowledged", lost["id"])
    cluster.faults.failing_appends = 1
    failed, (unsent,) = publish(cluster, text)
    assert (failed, unsent["status"]) == (1, "unknown")


def test_a_stop_sends_nothing_further() -> None:
    cluster = memory_cluster(TOPIC)
    stop = threading.Event()
    stop.set()
    assert publish(cluster, b'{"case":"c","data":{"text":"a"}}', stop=stop) == (0, [])
    assert not any(cluster.logs.values())


class Closed(io.StringIO):
    """A stdout whose reader goes away."""

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.fixture
def cluster() -> MemoryCluster:
    made = memory_cluster(TOPIC, partitions=1)
    made.store(PLACE, [outgoing("e0"), Outgoing(b"c", b"junk"), outgoing("e1"), outgoing("e2")])
    return made


def test_exactly_n_events_are_printed_and_committed(cluster: MemoryCluster, capsys: pytest.CaptureFixture[str]) -> None:
    consumer, out = cluster.consumer([TOPIC], group="g"), io.StringIO()
    unread = print_events(consumer, OPENER, out=out, limit=2, as_json=True, stop=threading.Event())
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == ["e0", "e1"]
    assert unread == 1
    assert cluster.groups["g"].commits == {PLACE: 3}
    assert f"{TOPIC}[0] offset 1 cannot be read: EnvelopeRefused" in capsys.readouterr().err


def test_nothing_is_committed_that_did_not_reach_the_reader(cluster: MemoryCluster) -> None:
    consumer = cluster.consumer([TOPIC], group="g")
    with pytest.raises(BrokenPipeError):
        print_events(consumer, OPENER, out=Closed(), limit=None, as_json=False, stop=threading.Event())
    assert cluster.groups["g"].commits == {}


def test_a_reader_that_goes_away_is_noticed_on_a_quiet_topic_too(cluster: MemoryCluster) -> None:
    consumer = cluster.consumer([TOPIC], group="g")
    read, write = os.pipe()
    with os.fdopen(write, "w") as out:
        print_events(consumer, OPENER, out=out, limit=3, as_json=True, stop=threading.Event())
        os.close(read)
        stop = threading.Event()
        give_up = threading.Timer(15, stop.set)
        give_up.start()
        with pytest.raises(BrokenPipeError):
            print_events(consumer, OPENER, out=out, limit=None, as_json=True, stop=stop)
        give_up.cancel()
    assert cluster.groups["g"].commits == {PLACE: 4}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["publish", "birth.registered", "no-such-file", "--as", "justice"], "no-such-file"),
        (["publish", "birth.registered", "-", "--as", "health"], "publishers: justice"),
        (["publish", "justice.birth.registered.v1", "-", "--as", "health"], "belongs to justice"),
        (["publish", "birth.registerd", "-", "--as", "justice"], "did you mean"),
        (["consume", "nothing.at-all", "--group", "g"], "No event type"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""


def test_consume_without_a_broker_exits_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["consume", "birth.registered", "--group", "g", "--bootstrap", "127.0.0.1:1"]) == 4
    assert "agencybus up" in capsys.readouterr().err


Capture = pytest.CaptureFixture[str]
PIPE_BYTES = 65_536  # what a pipe holds that nobody reads (Linux)


class Counter:
    """An agency's use of the commands on real Kafka: one case, hence one partition; a group that starts at its end."""

    topic = "interior.request.created.v1"

    def __init__(self, kafka: str, folder: Path, name: str, capsys: Capture) -> None:
        self.at = ["--bootstrap", kafka]
        self.group = name
        self.kafka = kafka
        self._file = folder / "lines.jsonl"
        self._capsys = capsys
        assert main(["topics", "apply", *self.at]) == 0
        self.call("reset", self.topic, "--group", name, "--to", "latest", "--yes")
        self.start = self.committed()

    def call(self, *words: str, code: int = 0) -> list[str]:
        """Run a command; give its lines."""
        self._capsys.readouterr()
        assert main([*words, *self.at]) == code
        return self._capsys.readouterr().out.splitlines()

    def publish(self, count: int) -> list[dict[str, Any]]:
        lines = [
            {"case": self.group, "data": {"request_id": f"R-{n}", "kind": "parking_permit", "subject": f"SYN-P-{n}"}}
            for n in range(count)
        ]
        self._file.write_text("\n".join(map(json.dumps, lines)))
        return [json.loads(line) for line in self.call("publish", self.topic, str(self._file), "--as", "interior")]

    def consume(self, count: int) -> list[dict[str, Any]]:
        words = ["consume", self.topic, "--group", self.group, "--max", str(count), "--json"]
        return [json.loads(line) for line in self.call(*words)]

    def committed(self) -> int:
        admin = KafkaTransport(bootstrap=self.kafka).admin()
        found = sum(admin.committed([self.group])[self.group].values())
        admin.close()
        return found

    def follow(self) -> subprocess.Popen[bytes]:
        words = ["consume", self.topic, "--group", self.group, "--json", *self.at]
        command = [sys.executable, "-m", "bus.cli.main", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)


@pytest.fixture
def counter(kafka: str, tmp_path: Path, fresh: Callable[[str], str], capsys: Capture) -> Counter:
    return Counter(kafka, tmp_path, fresh("desk"), capsys)


@pytest.mark.kafka
def test_on_kafka_exactly_n_are_taken_and_the_next_run_goes_on_with_the_one_after(counter: Counter) -> None:
    sent = [receipt["offset"] for receipt in counter.publish(12)]
    assert [event["offset"] for event in counter.consume(5)] == sent[:5]
    assert counter.committed() == counter.start + 5
    assert [event["offset"] for event in counter.consume(7)] == sent[5:]
    assert counter.committed() == counter.start + 12
    counter.call("consume", counter.topic, "--group", counter.group, "--max", "1", "--from", "earliest", code=2)


@pytest.mark.kafka
def test_on_kafka_a_file_sent_twice_has_the_same_ids_and_a_reader_sees_each_event_once(counter: Counter) -> None:
    first, again = counter.publish(20), counter.publish(20)
    assert [r["id"] for r in first] == [r["id"] for r in again]
    assert len({r["id"] for r in first}) == 20
    assert max(r["offset"] for r in first) < min(r["offset"] for r in again), "both are stored"
    last = counter.publish(21)[-1]
    seen: list[str] = []
    with connect(bootstrap=counter.kafka) as bus:
        for delivery in bus.subscribe(RequestCreated, group=counter.group, publishers=["interior"]):
            with delivery:
                seen.append(delivery.message.envelope.id)
            if seen[-1] == last["id"]:
                break
    assert seen == [r["id"] for r in first] + [last["id"]]


@pytest.mark.kafka
def test_on_kafka_a_reader_that_goes_away_ends_it_and_what_was_not_flushed_comes_again(counter: Counter) -> None:
    sent = [receipt["offset"] for receipt in counter.publish(1_500)]
    child = counter.follow()
    assert child.stdout is not None
    assert child.stderr is not None
    line = child.stdout.readline()
    child.stdout.close()  # as `| head -1` does
    said = child.stderr.read().decode()
    assert (child.wait(60), said) == (1, "")
    child.stderr.close()
    done = counter.committed() - counter.start
    assert done * len(line) <= len(line) + PIPE_BYTES, "no more is committed than the pipe can have taken"
    left = 1_500 - done
    assert [event["offset"] for event in counter.consume(left)] == sent[done:]


@pytest.mark.kafka
def test_on_kafka_a_reader_that_leaves_a_quiet_topic_does_not_keep_it_running(counter: Counter) -> None:
    (receipt,) = counter.publish(1)
    child = counter.follow()
    assert child.stdout is not None
    assert child.stderr is not None
    assert json.loads(child.stdout.readline())["id"] == receipt["id"]
    child.stdout.close()
    said = child.stderr.read().decode()
    assert (child.wait(60), said) == (1, "")
    child.stderr.close()
    assert counter.committed() == counter.start + 1
