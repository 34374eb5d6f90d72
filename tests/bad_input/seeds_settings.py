"""Malformed settings: TOML files, environment variables, `.env` files and flags. Read by `config show`."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.bad_input.case import Case, places

TOML, ENV, DOTENV = "toml", "environment", "dotenv"
GOOD = "agency = 'justice'\npublish_deadline_s = 10\n"
_LAUGHS = "A0=" + "x" * 100 + "\n" + "".join(f"A{n}={f'${{A{n - 1}}}' * 10}\n" for n in range(1, 12))


def _toml(name: str, raw: bytes | str, says: str) -> Case:
    return Case(TOML, name, raw.encode() if isinstance(raw, str) else raw, says, 2)


def _env(name: str, variable: str, text: str, says: str) -> Case:
    return Case(ENV, name, lambda path: None, says, 2, environment={variable: text})


def _dotenv(name: str, raw: bytes | str, says: str) -> Case:
    return Case(DOTENV, name, raw.encode() if isinstance(raw, str) else raw, says, 2)


CASES = [
    *places(TOML, code=2),
    _toml("cut in a text", GOOD[:15], "not a TOML file.*end of document"),
    _toml("unknown key", GOOD + "agensy = 'x'\n", "key agensy is no setting.*\n?.*agency"),
    _toml("key twice", GOOD + "agency = 'x'\n", "not a TOML file.*line 3"),
    _toml("yaml", "agency: justice\n", "not a TOML file.*line 1"),
    _toml("utf-16", GOOD.encode("utf-16"), "not a TOML file"),
    _toml("utf-16 without a mark", GOOD.encode("utf-16-le"), "not a TOML file"),
    _toml("windows-1252", "agency = 'Bildungsbehörde'".encode("cp1252"), "not a TOML file"),
    _toml("gzip", gzip.compress(GOOD.encode()), "not a TOML file"),
    _toml("a zero byte", "agency = 'a\0b'", "not a TOML file.*line 1"),
    _toml("random bytes", bytes(range(256)), "not a TOML file"),
    _toml("nine hundred brackets", "a = " + "[" * 900, "nests too deeply|not a TOML file"),
    _toml("a long dotted key", ".".join("a" * 15_000) + " = 1", ":1: is longer than"),
    _toml("ten megabytes", "agency = '" + "x" * 10_000_000 + "'", "larger than 64 KiB"),
    _toml("a number of many digits", "session_timeout_ms = " + "9" * 900, "session_timeout_ms"),
    _toml("agency a number", "agency = 7", "key agency = '7'"),
    _toml("agency a table", "[agency]\nname = 'x'", "key agency"),
    _toml("agency in capitals", "agency = 'JUSTICE'", "key agency = 'JUSTICE'"),
    _toml("agency with terminal codes", 'agency = "\\u001b[2J\\u202E"', r"key agency = .*x1b"),
    _toml("agency of a kilobyte", "agency = '" + "x" * 900 + "'", "key agency"),
    _toml("key with terminal codes", '"\\u001b[2J" = 1', r"key \\x1b"),
    _toml("address without a port", "bootstrap = 'localhost'", "key bootstrap.*host:port"),
    _toml("address with a path", "bootstrap = '../../etc/passwd'", "key bootstrap.*host:port"),
    _toml("port too large", "bootstrap = 'a:99999'", "key bootstrap.*host:port"),
    _toml("deadline not a number", "publish_deadline_s = nan", "key publish_deadline_s = 'nan'"),
    _toml("deadline infinite", "publish_deadline_s = inf", "key publish_deadline_s"),
    _toml("deadline negative", "publish_deadline_s = -1", "key publish_deadline_s"),
    _toml("deadline a date", "publish_deadline_s = 2024-01-01", "key publish_deadline_s"),
    _toml("timeout too short", "session_timeout_ms = 1", "key session_timeout_ms"),
    _toml("folder a list", "data_dir = ['a']", "key data_dir"),
    _toml("three faults", "agency = 'A'\nbootstrap = ''\nsession_timeout_ms = 1",
          "(?=.*key agency)(?=.*key bootstrap)(?=.*key session_timeout_ms)"),
    _env("unknown variable", "AGENCYBUS__AGENCI", "x", "environment AGENCYBUS__AGENCI is no setting"),
    _env("timeout in words", "AGENCYBUS__SESSION_TIMEOUT_MS", "ten", "AGENCYBUS__SESSION_TIMEOUT_MS = 'ten'"),
    _env("deadline not a number", "AGENCYBUS__PUBLISH_DEADLINE_S", "NaN", "AGENCYBUS__PUBLISH_DEADLINE_S"),
    _env("address with terminal codes", "AGENCYBUS__BOOTSTRAP", "\x1b[2J:1", r"AGENCYBUS__BOOTSTRAP.*x1b"),
    _env("agency with a line end", "AGENCYBUS__AGENCY", "a\nerror: all is well", r"AGENCYBUS__AGENCY = 'a\\n"),
    _env("agency empty", "AGENCYBUS__AGENCY", "", "AGENCYBUS__AGENCY"),
    _env("agency not unicode", "AGENCYBUS__AGENCY", "\udcff", "AGENCYBUS__AGENCY"),
    _env("variable name with terminal codes", "AGENCYBUS__\x1b[2J", "x", r"AGENCYBUS__\\x1b"),
    _dotenv("unknown variable", "AGENCYBUS__AGENCI=x\n", r"\.env AGENCYBUS__AGENCI is no setting"),
    _dotenv("wrong value", "AGENCYBUS__SESSION_TIMEOUT_MS=1\n", r"\.env AGENCYBUS__SESSION_TIMEOUT_MS"),
    _dotenv("line without a sign", "AGENCYBUS__AGENCY justice\n", r"\.env"),
    _dotenv("unclosed quote", "AGENCYBUS__AGENCY='justice\n", r"\.env"),
    _dotenv("utf-16", "AGENCYBUS__AGENCY=justice\n".encode("utf-16"), r"\.env"),
    _dotenv("windows-1252", "AGENCYBUS__AGENCY=Bildungsbehörde\n".encode("cp1252"), r"\.env"),
    _dotenv("a zero byte", "AGENCYBUS__AGENCY=a\0b\n", r"\.env"),
    _dotenv("ten megabytes", "AGENCYBUS__AGENCY=" + "x" * 10_000_000, r"\.env"),
    _dotenv("billion laughs", _LAUGHS + "AGENCYBUS__AGENCY=${A11}\n", r"\.env line 13: AGENCYBUS__AGENCY"),
    _dotenv("gzip", gzip.compress(b"AGENCYBUS__AGENCY=justice\n"), r"\.env"),
]  # fmt: skip


def words(kind: str, path: Path) -> list[str]:
    """The command that reads the settings; a `.env` is found in the working directory."""
    return ["config", "show", *(["--config", str(path)] if kind == TOML else [])]


def file_name(kind: str) -> str:
    """What the file is called."""
    return ".env" if kind == DOTENV else "bad.toml"
