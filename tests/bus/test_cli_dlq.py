"""`dlq` as an operator uses it: what is open, what each command leaves, what a slip of the finger says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import pytest

from bus import core, redrive
from bus.cli.main import main
from bus.message import Outgoing, Partition, Record, Unreadable
from bus.middleware.dead_letter import dead_record
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.letters import (
    DECODE,
    GROUP,
    NOW,
    PARTITIONS,
    RULE,
    TOPIC,
    entries,
    failure,
    fill,
    make_topics,
    request,
)

Capture = pytest.CaptureFixture[str]
Run = Callable[..., Any]
DEAD = Partition(f"{GROUP}.dead", 0)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> MemoryCluster:
    made = memory_cluster()
    make_topics(made)
    monkeypatch.setattr(core, "transport_of", lambda settings: made)
    return made


@pytest.fixture
def dlq(capsys: Capture) -> Run:
    """Runs `dlq` words with --json; gives its document, having checked the exit code."""

    def run(*words: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["dlq", *words, "--json"]) == code, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def screen(capsys: Capture) -> Callable[..., str]:
    """As `dlq`, for people: what stands on stdout."""

    def run(*words: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["dlq", *words]) == code
        return capsys.readouterr().out

    return run


def counts(dlq: Run) -> tuple[int, int, int]:
    found = dlq("list")["counts"]
    return found["open"], found["redriven"], found["dropped"]


def causes(dlq: Run) -> dict[str, str]:
    """Cause ids by the error they are of."""
    return {one["error"]: one["cause"] for one in dlq("list")["causes"]}


def test_letters_are_shown_by_cause_with_what_to_do(cluster: MemoryCluster, dlq: Run, screen: Run) -> None:
    fill(cluster, 30)
    told = dlq("list")
    assert told["counts"] == {"open": 30, "redriven": 0, "dropped": 0}
    assert {(one["stage"], one["error"], one["kind"], one["open"]) for one in told["causes"]} == {
        ("decode", "Poison", "invalid", 10),
        ("handler", "ValueError", "bug", 10),
        ("handler", "Refused", "refused", 10),
    }
    shown = screen("list")
    assert "30 open" in shown
    for one in told["causes"]:
        assert one["remedy"] in " ".join(shown.split())
        assert one["cause"] in shown
        assert one["sample"] in shown


def test_only_what_is_asked_for_is_listed(cluster: MemoryCluster, dlq: Run, screen: Run) -> None:
    fill(cluster, 9)
    make_topics(cluster, group="other")
    fill(cluster, 3, group="other")
    assert dlq("list")["counts"]["open"] == 12
    assert dlq("list", "--group", "other")["counts"]["open"] == 3
    (cause,) = [one["cause"] for one in dlq("list", "--group", GROUP)["causes"] if one["error"] == "Poison"]
    told = dlq("list", "--cause", cause, "--each")
    assert [one["stage"] for one in told["letters"]] == ["decode"] * 3
    shown = screen("list", "--each", "--topic", TOPIC)
    assert all(one["id"] in shown for one in told["letters"])


def test_no_letters_and_a_foreign_record_are_said(cluster: MemoryCluster, dlq: Run, screen: Run) -> None:
    assert "No dead letters." in screen("list")
    cluster.store(DEAD, [Outgoing(b"k", b"by hand")])
    assert dlq("list")["strays"][0]["reason"] == "it has no header dead_group"
    assert "office.dead[0] offset 0 cannot be read" in screen("list")


def test_a_letter_shows_the_field_at_fault_and_what_would_happen_today(
    cluster: MemoryCluster, dlq: Run, screen: Run
) -> None:
    fill(cluster, 3)
    bad, good, _ = dlq("list", "--each")["letters"]
    told = dlq("show", bad["id"])
    assert told["today"]["outcome"] == "fails"
    assert told["fault"]["field"] == "wanted_by" or told["fault"]["byte"] > 20
    assert told["value_hex"] == (request(0, case="office-0", good=False).value or b"").hex()
    assert ["ce_id", "e-0"] in told["headers"]
    shown = screen("show", bad["id"][:6])
    assert f"byte {told['fault']['byte']}" in shown
    assert "\n> 0000" in shown
    assert dlq("show", good["id"])["today"] == {
        "outcome": "opens",
        "stage": "handler",
        "reason": "the handler decides",
    }


def test_a_hostile_payload_cannot_steer_the_terminal(cluster: MemoryCluster, screen: Run, dlq: Run) -> None:
    evil = "\x1b[2J\u202eevil"
    headers = (*request(1, case="c").headers, ("x\x1b[2J", evil.encode()), ("raw", b"\xff\x00"), ("none", None))
    record = Record(TOPIC, 0, 5, 0, evil.encode(), evil.encode() * 100, headers)
    cluster.store(DEAD, [dead_record(record, DECODE, group=GROUP)])
    (letter,) = dlq("list", "--each")["letters"]
    for words in (("list",), ("list", "--each"), ("show", letter["id"]), ("show", letter["id"], "--full")):
        shown = screen(*words)
        assert all(line.isprintable() for line in shown.split("\n"))
    assert "--full" in screen("show", letter["id"])
    assert "--full" not in screen("show", letter["id"], "--full")


def test_a_dry_run_says_what_would_become_of_each_and_stores_nothing(
    cluster: MemoryCluster, dlq: Run, screen: Run
) -> None:
    fill(cluster, 30)
    told = dlq("redrive", "--all", "--dry-run", code=3)
    assert told["counts"] == {"fails": 10, "opens": 20}
    assert "would fail again" in screen("redrive", "--all", "--dry-run", code=3)
    assert dlq("redrive", "--cause", causes(dlq)["ValueError"], "--dry-run")["counts"] == {"opens": 10}
    assert entries(cluster) == []
    assert counts(dlq) == (30, 0, 0)


def test_a_dry_run_knows_when_the_fault_is_gone(cluster: MemoryCluster, dlq: Run) -> None:
    cluster.store(Partition(TOPIC, 0), [request(1, case="c")])
    (record,) = cluster.logs[Partition(TOPIC, 0)]
    cluster.store(DEAD, [dead_record(record, failure("type", DECODE.kind, "UnknownType"), group=GROUP)])
    assert dlq("redrive", "--all", "--dry-run")["counts"] == {"passes": 1}


def test_a_redrive_gives_each_record_back_as_it_was_and_once(cluster: MemoryCluster, dlq: Run) -> None:
    records = fill(cluster, 30)
    done = dlq("redrive", "--all", "--rate", "max", "--reason", "handler mended")
    assert (done["letters"], done["left"], done["stopped"]) == (30, [], False)
    found = entries(cluster)
    assert sorted((one.record for one in found), key=repr) == sorted(records, key=repr)
    assert {(one.action, one.redrive) for one in found} == {(done["action"], 1)}
    assert all(one.due is not None and one.due <= NOW.replace(hour=9) for one in found)
    for number in range(PARTITIONS):
        rows = cluster.logs[Partition("office.parked", number)]
        assert len(rows) == sum(one.record.partition == number for one in found)
    assert counts(dlq) == (0, 30, 0)
    assert dlq("redrive", "--all")["letters"] == 0
    assert len(entries(cluster)) == 30


def test_letters_of_a_key_leave_in_the_order_of_their_topic(cluster: MemoryCluster, dlq: Run) -> None:
    fill(cluster, 60)
    dlq("redrive", "--all", "--rate", "max")
    order = defaultdict(list)
    for one in entries(cluster):
        order[one.record.key].append(one.record.offset)
    assert len(order) == 7
    assert all(offsets == sorted(offsets) for offsets in order.values())


def test_again_repeats_on_purpose_under_a_number_of_its_own(cluster: MemoryCluster, dlq: Run) -> None:
    fill(cluster, 3)
    dlq("redrive", "--all", "--rate", "max")
    assert dlq("redrive", "--all", "--rate", "max", "--again")["letters"] == 3
    assert Counter(one.redrive for one in entries(cluster)) == {1: 3, 2: 3}
    assert counts(dlq) == (0, 3, 0)


def test_what_was_dropped_or_redriven_is_open_again_after_an_undo_and_all_is_on_record(
    cluster: MemoryCluster, dlq: Run, screen: Run
) -> None:
    fill(cluster, 9)
    by_error = causes(dlq)
    dropped = dlq("drop", "--cause", by_error["Poison"], "--reason", "sent again by the portal", "--by", "night shift")
    redriven = dlq("redrive", "--cause", by_error["ValueError"], "--rate", "max")
    assert counts(dlq) == (3, 3, 3)
    assert dlq("undo", dropped["action"], "--dry-run")["letters"] == 3
    assert counts(dlq) == (3, 3, 3)
    assert dlq("undo", dropped["action"][:7])["letters"] == 3
    assert dlq("undo", dropped["action"])["letters"] == 0
    assert counts(dlq) == (6, 3, 0)
    assert dlq("undo", redriven["action"])["letters"] == 3
    assert counts(dlq) == (9, 0, 0)
    told = dlq("history")["actions"]
    assert Counter((one["act"], one["undone"]) for one in told) == {
        ("undo", False): 2,
        ("drop", True): 1,
        ("redrive", True): 1,
    }
    (drop,) = [one for one in told if one["act"] == "drop"]
    assert (drop["by"], drop["reason"], drop["letters"]) == ("night shift", "sent again by the portal", 3)
    assert "night shift" in screen("history")
    assert dlq("history", "--group", "nobody")["actions"] == []


def test_a_dry_run_of_which_nothing_is_open_does_not_read_as_an_action(
    cluster: MemoryCluster, dlq: Run, screen: Run
) -> None:
    assert dlq("redrive", "--all", "--dry-run") == {"dry_run": True, "counts": {}, "letters": []}
    assert "nothing to redrive" in screen("redrive", "--all", "--dry-run")


def test_a_dry_run_of_a_drop_marks_nothing(cluster: MemoryCluster, dlq: Run) -> None:
    fill(cluster, 3)
    assert dlq("drop", "--all", "--reason", "x", "--dry-run") == {"act": "drop", "dry_run": True, "letters": 3}
    assert counts(dlq) == (3, 0, 0)


def test_what_cannot_be_redriven_is_named_stays_open_and_keeps_nothing_back(
    cluster: MemoryCluster, dlq: Run, screen: Run
) -> None:
    fill(cluster, 3)
    raw = Unreadable(b"raw", reason="crc", scope="batch", first=40, last=49)
    batch = Record(TOPIC, 0, 49, 0, None, raw, ())
    gone = Record(TOPIC, 2, 4_000, 0, b"c", b"x" * 960_000, ())
    large = Record(TOPIC, 1, 77, 0, b"c", b"x" * 949_800, ())
    cluster.store(
        DEAD,
        [
            dead_record(batch, failure("batch", DECODE.kind, "crc"), group=GROUP),
            dead_record(gone, DECODE, group=GROUP),
            dead_record(large, RULE, group=GROUP),
        ],
    )
    verdicts = dlq("redrive", "--all", "--dry-run", code=3)
    assert verdicts["counts"]["stuck"] == 3
    done = dlq("redrive", "--all", "--rate", "max", code=1)
    assert done["letters"] == 3
    said = " ".join(one["reason"] for one in done["left"])
    for word in ("no client can parse", "no longer has them", "too large"):
        assert word in said
    assert len(entries(cluster)) == 3
    assert counts(dlq) == (3, 3, 0)
    shown = screen("redrive", "--all", "--rate", "max", code=1)
    assert shown.count("left open") == 3
    (letter,) = [one for one in dlq("list", "--each")["letters"] if one["span"]]
    assert "offsets 40 to 49" in screen("show", letter["id"])
    assert "Next:" in screen("list")
    assert dlq("drop", "--all", "--reason", "sent again")["letters"] == 3
    assert counts(dlq) == (0, 3, 3)
    assert "Next:" not in screen("list")


def test_bytes_that_did_not_fit_into_the_letter_are_read_from_their_topic(cluster: MemoryCluster, dlq: Run) -> None:
    cluster.store(Partition(TOPIC, 1), [Outgoing(b"c", b"y" * 960_000)])
    (record,) = cluster.logs[Partition(TOPIC, 1)]
    cluster.store(DEAD, [dead_record(record, DECODE, group=GROUP)])
    (letter,) = dlq("list", "--each")["letters"]
    assert letter["left_out"] > 960_000
    told = dlq("show", letter["id"])
    assert told["value_hex"] == (b"y" * 960_000).hex()
    assert told["today"]["outcome"] == "stuck"


def test_one_that_is_interrupted_goes_on_with_the_same_command(
    cluster: MemoryCluster, dlq: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(cluster, 250)
    with monkeypatch.context() as patch:
        looks = iter([False, False, True])
        patch.setattr(redrive, "Pace", lambda rate, stop: pace(rate, lambda: next(looks, True)))
        done = dlq("redrive", "--all", "--rate", "max", code=130)
    assert (done["letters"], done["stopped"]) == (200, True)
    assert counts(dlq) == (50, 200, 0)
    (action,) = dlq("history")["actions"]
    assert (action["letters"], action["planned"]) == (200, 250)
    assert dlq("redrive", "--all", "--rate", "max")["letters"] == 50
    places = Counter((one.record.partition, one.record.offset) for one in entries(cluster))
    assert len(places) == places.total() == 250


pace = redrive.Pace


def test_a_broker_that_goes_away_loses_nothing_and_repeats_at_most_a_chunk(
    cluster: MemoryCluster, dlq: Run, capsys: Capture
) -> None:
    fill(cluster, 250)
    cluster.faults.lost_acks = 1  # the first chunk is stored, and nobody knows
    assert main(["dlq", "redrive", "--all", "--rate", "max"]) == 1
    said = capsys.readouterr().err
    assert "The same command goes on with the rest." in said
    assert counts(dlq) == (250, 0, 0)
    assert dlq("redrive", "--all", "--rate", "max")["letters"] == 250
    places = Counter((one.record.partition, one.record.offset) for one in entries(cluster))
    assert len(places) == 250
    assert places.total() <= 350
    assert counts(dlq) == (0, 250, 0)


def test_a_thousand_letters_of_three_causes_take_one_action_each_and_none_is_lost_from_the_count(
    cluster: MemoryCluster, dlq: Run
) -> None:
    fill(cluster, 1_000)
    by_error = causes(dlq)
    assert len(by_error) == 3
    assert dlq("drop", "--cause", by_error["Poison"], "--reason", "sent again")["letters"] == 334
    assert counts(dlq) == (666, 0, 334)
    for error, many in (("ValueError", 333), ("Refused", 333)):
        assert dlq("redrive", "--cause", by_error[error], "--rate", "max")["letters"] == many
        assert sum(counts(dlq)) == 1_000
    assert counts(dlq) == (0, 666, 334)
    assert len(dlq("history")["actions"]) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "ffffffff"], "There is no dead letter 'ffffffff'"),
        (["show", "a\x1b[2J"], r"There is no dead letter 'a\x1b[2J'"),
        (["list", "--group", "nobody"], "Groups with dead letters: office"),
        (["list", "--cause", "12345678"], "No dead letter has the cause 12345678"),
        (["list", "--topic", "portal.request.creatd.v1"], "No dead letter is of the topic"),
        (["redrive"], "Say which letters"),
        (["redrive", "--id", "ffffffff"], "no dead letter"),
        (["redrive", "--all", "--rate", "fast"], "--rate 'fast'"),
        (["redrive", "--all", "--rate", "0"], "--rate '0'"),
        (["redrive", "--all", "--reason", ""], "--reason has 0 characters"),
        (["redrive", "--all", "--by", "x" * 101], "--by has 101 characters"),
        (["drop", "--all"], "--reason"),
        (["drop", "--reason", "x"], "Say which letters"),
        (["undo", "0000"], "There is no action '0000'"),
    ],
)
def test_a_slip_is_one_sentence_and_exit_2(
    words: list[str], said: str, cluster: MemoryCluster, capsys: Capture
) -> None:
    fill(cluster, 3)
    assert main(["dlq", *words]) == 2
    found = capsys.readouterr()
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""
    assert all(line.isprintable() for line in found.err.split("\n"))


def test_an_undo_cannot_be_undone(cluster: MemoryCluster, dlq: Run, capsys: Capture) -> None:
    fill(cluster, 3)
    done = dlq("drop", "--all", "--reason", "x")
    undone = dlq("undo", done["action"])
    assert main(["dlq", "undo", undone["action"]]) == 2
    assert "only redrive and drop" in capsys.readouterr().err


def test_nothing_is_begun_that_could_not_be_finished(cluster: MemoryCluster, capsys: Capture) -> None:
    fill(cluster, 3)
    cluster.admin().delete("bus.operator.acted.v1")
    for words in (["redrive", "--all"], ["drop", "--all", "--reason", "x"]):
        assert main(["dlq", *words]) == 1
        assert "bus.operator.acted.v1" in capsys.readouterr().err
    assert entries(cluster) == []


def test_without_a_broker_it_exits_4(capsys: Capture) -> None:
    assert main(["dlq", "list", "--bootstrap", "127.0.0.1:1"]) == 4
    assert "agencybus up" in capsys.readouterr().err
