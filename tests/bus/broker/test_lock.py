"""The committed jar lock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.broker.lock import KAFKA_VERSION, LOCK, Jar, locked, read, repository, write
from bus.errors import BusError

WORD = st.from_regex(r"[a-z][a-z0-9.-]{0,12}", fullmatch=True)
JARS = st.builds(
    Jar,
    coordinates=st.builds(lambda g, a, v: f"{g}:{a}:{v}", WORD, WORD, WORD),
    size=st.integers(0, 10**9),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


def test_the_committed_lock_holds_one_kafka_and_a_log_binding() -> None:
    jars = locked()
    kafka = [jar for jar in jars if jar.coordinates.startswith("org.apache.kafka:")]
    assert {jar.coordinates.rsplit(":", 1)[1] for jar in kafka} == {KAFKA_VERSION}  # kafka-clients was 3.9.1 once
    assert {"kafka_2.13", "kafka-clients"} <= {jar.coordinates.split(":")[1] for jar in kafka}
    assert any(jar.name.startswith("log4j-slf4j-impl-2.25.") for jar in jars)
    assert 30e6 < sum(jar.size for jar in jars) < 80e6


def test_no_artifact_is_locked_in_two_versions() -> None:
    artifacts = [jar.coordinates.rsplit(":", 1)[0] for jar in locked()]
    assert len(artifacts) == len(set(artifacts))


def test_the_lock_names_no_host_and_is_what_we_would_write() -> None:
    text = LOCK.read_text(encoding="utf-8")
    assert "//" not in text
    assert write(read(text)) == text


def test_the_repository_is_what_jgo_says() -> None:
    from jgo.constants import MAVEN_CENTRAL_URL

    assert repository() == MAVEN_CENTRAL_URL


@given(st.lists(JARS, unique_by=lambda jar: jar.name))
def test_what_is_written_is_read_back(jars: list[Jar]) -> None:
    assert sorted(read(write(jars)), key=str) == sorted(jars, key=str)


@given(st.text())
def test_any_other_text_is_refused_with_its_line(text: str) -> None:
    wanted = [line for line in text.splitlines() if line and not line.startswith("#")]
    if not wanted:
        assert read(text) == ()
        return
    with pytest.raises(BusError, match=r"kafka\.lock:\d+"):
        read(text)


def test_a_jar_listed_twice_is_refused() -> None:
    line = f"g:a:1 3 {'0' * 64}"
    with pytest.raises(BusError, match=r"kafka\.lock:2"):
        read(f"{line}\n{line}\n")


def test_the_path_is_that_of_a_maven_repository() -> None:
    assert Jar("org.apache.kafka:kafka_2.13:4.3.1", 1, "").path == (
        "org/apache/kafka/kafka_2.13/4.3.1/kafka_2.13-4.3.1.jar"
    )
