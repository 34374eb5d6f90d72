"""The launcher on real Kafka."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bus.broker import probe
from schemas import names


@pytest.mark.kafka
def test_the_fixture_gives_a_broker_that_answers(kafka: str) -> None:
    answer = probe.ask(kafka, timeout=5)
    assert answer is not None
    assert kafka in answer.brokers.values()


def test_fresh_names_are_in_the_topic_grammar(fresh: Callable[[str], str], topic_prefix: str) -> None:
    assert names.agency(fresh("clinic")) == fresh("clinic")
    assert names.topic(f"{topic_prefix}.request.created.v1").agency == topic_prefix
