"""`agencybus case trace` in memory: a table for people, a document for programs, a sentence for a case nobody knows."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents import compile as compiler
from agents import worker
from bus.cli.main import main
from bus.message import Outgoing, Partition
from bus.ports import TopicState
from bus.transport import kafka_admin, kafka_reader
from tests.agents import births
from tests.agents.faults import Faults
from tests.agents.world import CATALOGUE, GROUP, PARTITIONS, World

GRAPH = compiler.compile_file(worker.PROCESSES / "birth.yaml", CATALOGUE)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """birth-1 has been registered and is open; birth-3 ended as a stillbirth."""
    made = World(GRAPH)
    births.notify(made, "birth-1")
    births.notify(made, "birth-3", stillborn=True)

    async def live() -> None:
        one = made.worker()
        await one.step()
        births.register(made, "birth-1")
        births.register(made, "birth-3", stillbirth=True)
        for _ in range(4):
            await one.step()
            made.clock.advance(seconds=2)

    asyncio.run(live())
    publish_log(made, GROUP)
    monkeypatch.setattr(kafka_admin, "KafkaAdmin", lambda _: made.cluster.admin())
    monkeypatch.setattr(kafka_reader, "KafkaReader", lambda _: made.cluster.reader())
    return made


def publish_log(world: World, group: str) -> None:
    world.cluster.admin().create(TopicState(f"{group}.cases", PARTITIONS, 1))
    for number, rows in world.rows.items():
        world.cluster.store(Partition(f"{group}.cases", number), [Outgoing(key, value) for key, value in rows])


def test_an_open_case_is_one_document(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["case", "trace", "birth-1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {key: document[key] for key in ("case", "group", "outcome", "waiting_for", "opened")} == {
        "case": "birth-1",
        "group": GROUP,
        "outcome": None,
        "waiting_for": ["assigned", "id_entry"],
        "opened": "2026-01-05T08:00:00.000000Z",
    }
    assert [event["step"] for event in document["events"]] == ["notified", "registered", "ask"]
    assert set(document["events"][1]) == {
        *("at", "event", "agency", "id", "step", "title", "owner", "waited_for", "replaced", "partition", "offset")
    }


def test_a_parked_case_says_why_and_how_to_go_on(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    faults = Faults(events={"i-birth-1"})
    world.runner = faults.runner()
    births.identify(world, "birth-1")
    asyncio.run(world.worker().step())
    world.cluster.admin().delete(f"{GROUP}.cases")
    publish_log(world, GROUP)
    assert main(["case", "trace", "birth-1", "--json"]) == 0
    parked = json.loads(capsys.readouterr().out)["parked"]
    assert (parked["stage"], parked["error"], parked["entries"]) == ("step", "ZeroDivisionError", 1)
    assert main(["case", "trace", "birth-1"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "because of ZeroDivisionError (stage step)" in told
    assert f"agencybus parked release --group {GROUP} --case birth-1" in told


def test_a_closed_case_is_told_from_the_archive(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["case", "trace", "birth-3", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["outcome"], document["waiting_for"], len(document["events"])) == ("stillbirth", [], 2)


def test_people_get_a_table(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["case", "trace", "birth-1"]) == 0
    out = capsys.readouterr().out
    assert f"birth-1 ({GROUP}), open, waiting at assigned, id_entry" in out
    assert "clinic certificate of birth" in out
    assert "2026-01-05 08:00:00.000" in out
    assert main(["case", "trace", "birth-3"]) == 0
    assert f"birth-3 ({GROUP}), closed: stillbirth" in capsys.readouterr().out


def test_no_payload_is_shown(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--json"]):
        main(["case", "trace", "birth-1", *more])
        assert "SYN-" not in capsys.readouterr().out


def test_a_case_of_two_groups_is_two_documents(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    publish_log(world, "workflow.other")
    assert main(["case", "trace", "birth-1", "--json"]) == 0
    assert [found["group"] for found in json.loads(capsys.readouterr().out)] == ["workflow.other", GROUP]


def test_an_unknown_case_exits_1_with_the_remedy(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["case", "trace", "birth-9"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: No workflow knows case birth-9.\nCheck the id;")


@pytest.mark.parametrize("case", ["!barrier", "a b", "", "ə", "x" * 300])
def test_what_is_no_case_id_is_a_usage_error_and_nothing_is_asked(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["case", "trace", "--bootstrap", "127.0.0.1:1", "--", case]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_broker_that_does_not_answer_exits_4(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["case", "trace", "birth-1", "--bootstrap", "127.0.0.1:1"]) == 4
    assert "127.0.0.1:1" in capsys.readouterr().err
