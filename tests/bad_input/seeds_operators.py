"""Wrong words of the commands with which an operator acts: refused before anything is connected to."""

from __future__ import annotations

from pathlib import Path

from tests.bad_input.case import Case

OPERATOR = "operator"
_DLQ, _PARKED = ("dlq", "redrive"), ("parked", "release")


def _said(name: str, words: tuple[str, ...], says: str) -> Case:
    return Case(OPERATOR, name, lambda path: None, says, 2, words=words)


CASES = [
    _said("rate in words", (*_DLQ, "--all", "--rate", "fast"), "--rate 'fast'.*number above 0"),
    _said("rate of nothing", (*_DLQ, "--all", "--rate", "0"), "--rate '0'"),
    _said("rate below nothing", (*_DLQ, "--all", "--rate", "-5"), "--rate '-5'"),
    _said("rate not a number", (*_DLQ, "--all", "--rate", "nan"), "--rate 'nan'"),
    _said("rate without end", (*_DLQ, "--all", "--rate", "inf"), "--rate 'inf'"),
    _said("rate with terminal codes", (*_DLQ, "--all", "--rate", "\x1b[2J"), r"--rate '\\x1b"),
    _said("rate of many digits", (*_DLQ, "--all", "--rate", "9" * 5_000), "--rate"),
    _said("reason empty", (*_DLQ, "--all", "--reason", ""), "--reason has 0"),
    _said("reason of spaces", (*_DLQ, "--all", "--reason", "  "), "--reason has 2"),
    _said("reason of a kilobyte", ("dlq", "drop", "--all", "--reason", "x" * 1_000), "--reason has 1000"),
    _said("reason missing", ("dlq", "drop", "--all", "--reason"), "--reason"),
    _said("account of a kilobyte", (*_DLQ, "--all", "--by", "x" * 1_000), "--by has 1000"),
    _said("no letter named", (*_DLQ, "--again", "--id"), "--id"),
    _said("key of wrong digits", (*_PARKED, "--key", "0xzz"), "--key 0xzz"),
    _said("key with terminal codes", (*_PARKED, "--key", "0x\x1b[2J"), r"--key 0x\\x1b"),
    _said("key of a kilobyte", (*_PARKED, "--key", "0x" + "g" * 1_000), "--key 0xggg"),
    _said("key and case", (*_PARKED, "--key", "a", "--case", "a"), "--key or --case"),
    _said("wait below nothing", (*_PARKED, "--all", "--wait", "-1"), "--wait"),
    _said("wait not a number", (*_PARKED, "--all", "--wait", "soon"), "--wait"),
    _said("drop of nothing", ("parked", "drop", "--reason", "x", "--key"), "--key"),
]


def words(kind: str, path: Path) -> list[str]:
    """Everything stands in the case's own words."""
    return []
