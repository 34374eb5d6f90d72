"""Bad input on a real broker: whatever the command says, no topic is made and no record is written."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus.message import Partition
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_reader import KafkaReader
from tests.bad_input import corpus, seeds_lines
from tests.bad_input.case import Case
from tests.bad_input.runner import Ran, Runner
from tests.bad_input.test_bad_input import assert_clear

pytestmark = pytest.mark.kafka

SUBSET = {
    "definition-unknown_topic",
    "worker-truncated",
    "worker-unknown_topic",
    "xes-first_half_only",
    "xes-gzip_cut_in_the_middle",
    "xes-billion_laughs",
    "xes-never_a_date",
    "xes-no_times_at_all",
    "csv-no_time_in_the_middle",
    "csv-short_row",
    "csv-row_cut_in_the_middle",
    "csv-windows-1252_late",
    "plan-topic_unknown",
    "apply-alias_bomb",
    "apply-partitions_zero",
    "diff-alias_bomb_to_compare",
    "toml-unknown_key",
    "dotenv-wrong_value",
    "avsc-cut",
}
Ends = dict[Partition, int]


def ends(bootstrap: str) -> Ends:
    """Every partition there is, with where it ends."""
    reader, admin = KafkaReader(bootstrap), KafkaAdmin(bootstrap)
    try:
        places = [
            Partition(name, number) for name, found in admin.topics().items() for number in range(found.partitions)
        ]
        return {place: end for place, (_, end) in reader.bounds(places).items()}
    finally:
        reader.close()
        admin.close()


@pytest.fixture(scope="module")
def ready(kafka: str, runner: Runner) -> str:
    """The broker with the standard topics and one acknowledged event, so that the ends are not all zero."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        good = place / "good.jsonl"
        good.write_bytes(seeds_lines._line())
        applied = runner.run(["topics", "apply", "--bootstrap", kafka], folder=place, timeout_s=60)
        assert applied.code == 0, applied.err
        told = runner.run(_publish(good, kafka), folder=place, timeout_s=60)
        assert told.code == 0, told.err
        assert '"acknowledged"' in told.out
    return kafka


@pytest.fixture
def untouched(ready: str) -> Iterator[str]:
    """The broker; after the test every partition of every topic must end where it did, and no topic is new."""
    before = ends(ready)
    assert sum(before.values()) > 0
    yield ready
    assert ends(ready) == before


def test_the_measure_sees_one_record_and_one_topic(ready: str, runner: Runner, tmp_path: Path) -> None:
    """Or the test below would pass with any command."""
    before = ends(ready)
    good = tmp_path / "good.jsonl"
    good.write_bytes(seeds_lines._line(case="another"))
    assert runner.run(_publish(good, ready), folder=tmp_path).code == 0
    after = ends(ready)
    assert sum(after.values()) == sum(before.values()) + 1


@pytest.mark.parametrize("case", [c for c in corpus.WITHOUT_BROKER if str(c) in SUBSET], ids=str)
def test_a_refused_file_leaves_the_broker_as_it_was(case: Case, untouched: str, runner: Runner, tmp_path: Path) -> None:
    path = corpus.file_of(case, tmp_path)
    environment = {**case.environment, "AGENCYBUS__BOOTSTRAP": untouched}
    ran = runner.run(corpus.command_of(case, path, untouched), folder=tmp_path, environment=environment)
    assert_clear(case, ran)
    assert ran.out == ""


def test_each_kind_is_in_the_subset() -> None:
    assert {name.split("-")[0] for name in SUBSET} == {c.kind for c in corpus.WITHOUT_BROKER} - {
        "environment",
        "operator",
    }
    assert {str(c) for c in corpus.WITHOUT_BROKER} >= SUBSET


def test_bad_lines_are_refused_one_by_one_and_none_is_stored(untouched: str, runner: Runner, tmp_path: Path) -> None:
    together = [case for case in corpus.LINES if _one_line(case)]
    for case in corpus.LINES:
        if case not in together:
            folder = tmp_path / case.name.replace(" ", "_")
            folder.mkdir()
            command = corpus.command_of(case, corpus.file_of(case, folder), untouched)
            assert_refused(case, runner.run(command, folder=folder, unprivileged=case.unprivileged))
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"\n".join(_line(case) for case in together))
    ran = runner.run(_publish(path, untouched), folder=tmp_path)
    assert ran.code == 1, ran.err
    assert "Traceback" not in ran.err
    for case, line in zip(together, ran.out.splitlines(), strict=True):
        assert_refused(case, replace(ran, out=line, err=""))
    codes = Counter(case.code for case in corpus.LINES)
    print(f"\nlines: {len(corpus.LINES)} cases, {codes[1]} exit 1, {codes[2]} exit 2")  # noqa: T201


def _one_line(case: Case) -> bool:
    return isinstance(case.content, bytes) and b"\n" not in case.content


def _line(case: Case) -> bytes:
    assert isinstance(case.content, bytes)
    return case.content


def _publish(path: Path, bootstrap: str) -> list[str]:
    return ["publish", seeds_lines.TYPE, str(path), "--as", seeds_lines.AGENCY, "--bootstrap", bootstrap]


def assert_refused(case: Case, ran: Ran) -> None:
    """A file that cannot be opened is a usage error; a line is refused with its field, on one line of JSON."""
    assert not ran.hung, case.name
    assert ran.code == case.code, (case.name, ran.err[-2_000:], ran.out[-2_000:])
    assert "Traceback" not in ran.err + ran.out
    if case.code == 2:
        assert re.search(case.says, ran.err), (case.name, ran.err)
        assert ran.out == ""
        return
    assert all(line.isprintable() for line in ran.out.split("\n")), repr(ran.out)
    results = [json.loads(line) for line in ran.out.splitlines()]
    assert results, case.name
    assert all(result["status"] == "refused" and result["reason"] for result in results), (case.name, results)
    assert re.search(case.says, results[0]["field"]), (case.name, results)
    assert len(ran.out) < 4_000 * len(results), case.name


def test_a_file_of_good_and_bad_lines_stores_the_good_ones_only(ready: str, runner: Runner, tmp_path: Path) -> None:
    before = ends(ready)
    path = tmp_path / "mixed.jsonl"
    bad = [_line(case) for case in corpus.LINES if _one_line(case)]
    path.write_bytes(b"\n".join([seeds_lines._line(case="m-1"), *bad, seeds_lines._line(case="m-2")]))
    ran = runner.run(_publish(path, ready), folder=tmp_path)
    assert ran.code == 1, ran.err
    results = [json.loads(line) for line in ran.out.splitlines()]
    assert [r["status"] for r in results] == ["acknowledged", *["refused"] * len(bad), "acknowledged"]
    assert sum(ends(ready).values()) == sum(before.values()) + 2
