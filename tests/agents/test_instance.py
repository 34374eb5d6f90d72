"""Two processes under one static name: the living holder keeps it, the other ends; a dead one's name is free."""

from __future__ import annotations

import os
import re

import pytest

from agents.instance import client_id, holder, keep_name
from bus.errors import UsageError
from bus.transport.kafka_facts import Member

MINE = client_id("g", host="here", supervisor=100)
NEXT_DOOR = client_id("g", host="here", supervisor=7)
ELSEWHERE = client_id("g", host="there", supervisor=7)


class Group:
    """A group whose member `name` is held by `client` until `until` seconds have passed."""

    def __init__(self, client: str, *, until: float = float("inf")) -> None:
        self.client, self.until = client, until
        self.now = 0.0
        self.said: list[str] = []

    def look(self) -> list[Member]:
        others = [Member(None, "x", "10.0.0.9"), Member("other", ELSEWHERE, "10.0.0.8")]
        return [*others, *([Member("name", self.client, "10.0.0.7")] if self.now < self.until else [])]

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def keep(self, *, alive: bool = True) -> None:
        keep_name(
            self.look,
            instance="name",
            mine=MINE,
            session_s=10,
            say=self.said.append,
            alive=lambda _: alive,
            clock=lambda: self.now,
            sleep=self.sleep,
        )


def test_a_living_holder_keeps_its_name_and_the_other_ends_for_good() -> None:
    group = Group(ELSEWHERE)
    with pytest.raises(UsageError, match=rf"--instance name: {ELSEWHERE} at 10\.0\.0\.7\. Give each") as refused:
        group.keep()
    assert refused.value.exit_code == 2  # the supervisor starts nothing again
    assert 12 <= group.now < 13
    assert len(group.said) == 1


def test_a_dead_holder_s_name_is_free_when_its_session_has_ended() -> None:
    group = Group(ELSEWHERE, until=9.9)
    group.keep()
    assert 9.9 <= group.now < 11


def test_the_same_supervisor_s_next_child_comes_back_at_once() -> None:
    group = Group(MINE)
    group.keep()
    assert group.now == 0


def test_a_holder_of_this_machine_whose_process_is_gone_is_not_waited_for() -> None:
    group = Group(NEXT_DOOR)
    group.keep(alive=False)
    assert (group.now, group.said) == (0, [])


def test_a_process_of_another_machine_is_not_looked_for_here() -> None:
    with pytest.raises(UsageError):
        Group(ELSEWHERE).keep(alive=False)


def test_only_the_name_counts() -> None:
    assert holder([Member(None, ELSEWHERE, "h"), Member("b", ELSEWHERE, "h")], "a", MINE) is None


def test_a_client_id_is_safe_in_metric_names_and_tells_supervisors_apart() -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+", client_id("workflow.birth", host="Büro 7"))
    assert client_id("g").endswith(f"-{os.getpid()}")
    assert len({MINE, NEXT_DOOR, ELSEWHERE}) == 3


@pytest.mark.parametrize("name", ["g-here-", "g-here-x", "g-here-99999999999999999999999"])
def test_a_strange_name_is_a_living_holder(name: str) -> None:
    with pytest.raises(UsageError):
        Group(name).keep()
