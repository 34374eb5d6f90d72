"""Malformed topology files, each one mutation of the one that ships. Read by `topics plan`, `apply` and `diff`."""

from __future__ import annotations

import gzip
from pathlib import Path

from bus.topology import STANDARD
from tests.bad_input.case import Case, places, replaced
from tests.bad_input.seeds_definitions import ALIAS_BOMB

PLAN, APPLY, DIFF = "plan", "apply", "diff"

GOOD = STANDARD.read_text(encoding="utf-8")
_DEFAULT = "  partitions: 6\n"
_TOPIC = "  health.birth.notified.v1:\n"
_LAST = "  social-fund.request.rejected.v1:\n"


def _with(name: str, old: str, new: str, says: str, kind: str = PLAN) -> Case:
    return Case(kind, name, replaced(GOOD, old, new), says)


def _bytes(name: str, raw: bytes, says: str, kind: str = PLAN) -> Case:
    return Case(kind, name, raw, says)


CASES = [
    *places(PLAN, code=3),
    *(case for case in places(DIFF, code=3) if case.name in ("missing", "directory")),
    _bytes("empty", b"", "is empty"),
    _bytes("first half only", GOOD[: GOOD.rindex("\n", 0, len(GOOD) // 2)].encode(), "missing"),
    _bytes("cut in a bracket", GOOD.encode()[: GOOD.rindex("]")], "is not YAML", APPLY),
    _bytes("utf-16", GOOD.encode("utf-16"), "binary"),
    _bytes("utf-16 without a mark", GOOD.encode("utf-16-be"), "binary"),
    _bytes("gzip", gzip.compress(GOOD.encode()), "binary|UTF-8", APPLY),
    _bytes("windows-1252", GOOD.replace("3, or as many", "drei, für alle").encode("cp1252"), ":5: is not UTF-8"),
    _bytes("random bytes", bytes(range(256)), "binary"),
    _bytes("alias bomb", ALIAS_BOMB.encode(), ":1: uses an anchor", APPLY),
    _bytes("alias bomb to compare", ALIAS_BOMB.encode(), ":1: uses an anchor", DIFF),
    _bytes("a million brackets", b"topics: " + b"[" * 1_000_000, "(?i)nest"),
    _bytes("ten megabytes on one line", b"topics: " + b"x" * 10_000_000, "larger than 1 MiB", APPLY),
    _bytes("forty thousand topics", GOOD.replace(_LAST, _LAST + "".join(f"  a.b.c{n}.v1:\n" for n in range(20_000)))
           .encode(), "more findings"),
    _bytes("a list", b"- a\n", ":1: "),
    _bytes("json with a repeated key", b'{"topics": {},\n "topics": {}}', ":2: repeats the key"),
    _bytes("toml", b"[defaults]\npartitions = 6\n", ":[12]: "),
    _with("merge key", _TOPIC, _TOPIC + "    <<: {partitions: 3}\n", "uses a merge key"),
    _with("anchor", "  partitions: 6\n", "  partitions: &p 6\n", ":4: uses an anchor"),
    _with("topic twice", _TOPIC, _TOPIC + _TOPIC, "repeats the key"),
    _with("unknown key", _DEFAULT, "  partition: 6\n", ":4: .*'partitions'"),
    _with("partitions negative", _DEFAULT, "  partitions: -6\n", ":4: .*partitions"),
    _with("partitions zero", _TOPIC, _TOPIC + "    partitions: 0\n", r":\d+: .*partitions", APPLY),
    _with("partitions a million", _DEFAULT, "  partitions: 1000000\n", ":4: .*partitions"),
    _with("partitions beyond 64 bits", _DEFAULT, "  partitions: 99999999999999999999\n", ":4: holds the number"),
    _with("partitions a text", _DEFAULT, "  partitions: '6'\n", ":4: .*partitions", DIFF),
    _with("partitions true", _DEFAULT, "  partitions: true\n", ":4: .*partitions"),
    _with("partitions a fraction", _DEFAULT, "  partitions: 6.5\n", ":4: .*partitions"),
    _with("partitions infinite", _DEFAULT, "  partitions: .inf\n", ":4: .*partitions"),
    _with("partitions differ in a group", _TOPIC, _TOPIC + "    partitions: 3\n", "inputs differ in partitions", APPLY),
    _with("retention in years", "retention: 30d", "retention: 3y", ":7: .*retention"),
    _with("retention negative", "retention: 30d", "retention: -1", ":7: .*retention"),
    _with("retention with terminal codes", "retention: 30d ", 'retention: "\\e[2J\\u202E" ', r":7: .*\\x1b"),
    _with("replication nine hundred", "replication: auto", "replication: 900", ":5: .*replication"),
    _with("in sync above replicas", _TOPIC, _TOPIC + "    replication: 1\n    min_insync: 2\n", "exceeds replication"),
    _with("cleanup unknown", "cleanup: delete", "cleanup: shred", ":8: .*cleanup"),
    _with("defaults missing", "defaults:\n", "standards:\n", "'defaults'"),
    _with("default left out", "  cleanup: delete\n", "", "cleanup is missing"),
    _with("topics missing", "topics:\n", "topic:\n", "'topics'"),
    _with("topic unknown", "  portal.request.created.v1:", "  portal.request.creatd.v1:", "portal.request.creatd.v1"),
    _with("topic against the grammar", _LAST, _LAST + "  Portal_Request:\n", "Portal_Request"),
    _with("topic with terminal codes", _LAST, _LAST + '  "\\e[31mred\\u202E":\n', r"\\x1b"),
    _with("topic is an emoji", _LAST, _LAST + "  💥:\n", "💥"),
    _with("topic of two hundred kilobytes", _LAST, _LAST + f"  {'a' * 200_000}:\n", r":\d+: "),
    _with("topic a number", _LAST, _LAST + "  17:\n", "has the key '17'"),
    _with("foreign owner", _TOPIC, _TOPIC + "    owner: justice\n", "belongs to health", APPLY),
    _with("group reads what is not there", "[replay.activity.recorded.v1]", "[replay.activity.lost.v1]", "lost"),
    _with("group reads nothing", "[replay.activity.recorded.v1]", "[]", r":\d+: .*inputs"),
    _with("group without inputs", "    inputs: [replay.activity.recorded.v1]", "    reads: []", "'inputs'"),
    _with("group named by a path", "  workflow.recorded:", "  ../etc:", "no group name"),
    _with("group that reads its own log", "[replay.activity.recorded.v1]", "[workflow.recorded.cases]", "not declared"),
    _with("wanted and unwanted", "groups:", "absent: [health.birth.notified.v1]\ngroups:", "wanted and unwanted"),
    _with("unwanted by number", "groups:", "absent: [7]\ngroups:", "absent"),
    _with("python tag", "replication: auto", "replication: !!python/name:os.system auto", ":5: uses the tag"),
    _with("two documents", "groups:", "---\ngroups:", "holds more than one document"),
]  # fmt: skip


def words(kind: str, path: Path) -> list[str]:
    """The command that reads the file."""
    return ["topics", kind, str(path), *([str(STANDARD)] if kind == DIFF else [])]
