"""Over 250 malformed inputs through the real commands: one clear message each, the documented code, no traceback.

None of these commands finds a broker, so an input that is read only after connecting gives 4 and fails its case.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from bus import printable
from bus.errors import MAX_SHOWN
from tests.bad_input import corpus
from tests.bad_input.case import Case
from tests.bad_input.runner import Ran, Runner
from tests.bad_input.seeds_settings import DOTENV, ENV

NO_BROKER = "127.0.0.1:1"
CPU_S, GROWN_MB, SAID = 2.0, 200.0, 12_000
_COUNTS: dict[str, Counter[int]] = defaultdict(Counter)


@pytest.fixture(scope="module", autouse=True)
def summary() -> Iterator[None]:
    """One line per kind at the end, shown with -s."""
    yield
    for kind, codes in _COUNTS.items():
        told = ", ".join(f"{count} exit {code}" for code, count in sorted(codes.items()))
        print(f"\n{kind}: {codes.total()} cases, {told}", end="")  # noqa: T201
    print(f"\nin all: {sum(codes.total() for codes in _COUNTS.values())} cases")  # noqa: T201


def assert_clear(case: Case, ran: Ran) -> None:
    """One bounded, safe message that names the fault; bounded time and memory."""
    said = ran.err
    assert not ran.hung, said[-2_000:]
    assert ran.code == case.code, said[-2_000:]
    assert re.search(case.says, said), said[-2_000:]
    assert "Traceback" not in said
    assert not re.search(r"unexpected \w+(Error|Exception|Fault|Warning)", said), said[-2_000:]
    assert all(line.isprintable() for line in said.split("\n")), repr(said[-2_000:])
    lines = [line for line in said.splitlines() if line.strip()]
    assert 1 <= len(lines) <= MAX_SHOWN + 3, said[-2_000:]
    assert len(set(lines)) == len(lines), f"a message is repeated: {said[-2_000:]}"
    assert len(said) <= SAID, f"{len(said)} characters"
    assert ran.cpu_s < CPU_S, f"{ran.cpu_s:.1f} s"
    assert ran.grown_mb < GROWN_MB, f"{ran.grown_mb:.0f} MB"


@pytest.mark.parametrize("case", corpus.WITHOUT_BROKER, ids=str)
def test_bad_input_is_one_clear_message_and_the_documented_code(case: Case, runner: Runner, tmp_path: Path) -> None:
    path = corpus.file_of(case, tmp_path)
    ran = runner.run(
        corpus.command_of(case, path, NO_BROKER),
        folder=tmp_path,
        environment=case.environment,
        unprivileged=case.unprivileged,
    )
    assert_clear(case, ran)
    assert ran.out == ""
    named = next(iter(case.environment)) if case.kind == ENV else ".env" if case.kind == DOTENV else path.name
    asked = [word for word in case.words if word.startswith("--")]
    assert printable.line(named) in ran.err or any(option in ran.err for option in asked), ran.err[-2_000:]
    _COUNTS[case.kind][ran.code] += 1


def test_the_corpus_is_as_large_as_the_bar_asks_and_no_name_stands_twice() -> None:
    named = Counter(str(case) for case in [*corpus.WITHOUT_BROKER, *corpus.LINES])
    assert max(named.values()) == 1, named.most_common(3)
    kinds = Counter(case.kind for case in corpus.WITHOUT_BROKER)
    assert kinds["definition"] + kinds["worker"] >= 45
    assert kinds["xes"] >= 45
    assert kinds["csv"] >= 30
    assert kinds["plan"] + kinds["apply"] + kinds["diff"] >= 35
    assert kinds["toml"] + kinds["environment"] + kinds["dotenv"] >= 25
    assert kinds["avsc"] + len(corpus.LINES) >= 20
    assert named.total() >= 200
