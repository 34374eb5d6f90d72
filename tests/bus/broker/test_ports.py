"""Which ports a cluster gets."""

from __future__ import annotations

import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.broker.config import Node
from bus.broker.ports import DEFAULT, any_free, choose, is_free
from bus.errors import BusError


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


def test_the_default_port_is_9092_and_another_when_that_is_taken() -> None:
    pick = random.Random(1)
    assert choose(1, port=None, last=(), pick=pick, free=lambda _: True)[0].port == 9092
    other = choose(1, port=None, last=(), pick=pick, free=lambda port: port != DEFAULT)[0].port
    assert 20000 <= other <= 32000


def test_a_cluster_keeps_its_ports_when_it_can() -> None:
    last = (Node(1, 30001, 30002),)
    assert choose(1, port=None, last=last, pick=random.Random(1), free=lambda _: True)[0].port == 30001
    assert choose(1, port=None, last=last, pick=random.Random(1), free=lambda p: p != 30001)[0].port == DEFAULT


def test_an_asked_port_that_is_taken_is_refused_with_the_remedy() -> None:
    with pytest.raises(BusError, match=r"Port 9999 .* is taken") as caught:
        choose(1, port=9999, last=(), pick=random.Random(1), free=lambda _: False)
    assert "--port" in caught.value.remedy


def test_when_nothing_is_free_it_says_so_and_ends() -> None:
    with pytest.raises(BusError, match="No free port"):
        any_free(random.Random(1), taken=(), free=lambda _: False)


@given(st.sampled_from([1, 3]), st.integers(), st.none() | st.integers(1, 65535), st.sets(st.integers(20000, 32000)))
def test_no_two_listeners_share_a_port_and_none_is_a_taken_one(
    count: int, seed: int, port: int | None, taken: set[int]
) -> None:
    last = tuple(Node(i, 9091 + i, 0) for i in range(1, count + 1))
    taken.discard(port or 0)
    nodes = choose(count, port=port, last=last, pick=random.Random(seed), free=lambda p: p not in taken)
    used = [p for node in nodes for p in (node.port, node.controller_port)]
    assert len(used) == len(set(used)) == 2 * count
    assert not taken & set(used)
    assert [node.id for node in nodes] == list(range(1, count + 1))
    if port is not None:
        assert nodes[0].port == port


def test_a_port_of_last_time_that_is_asked_for_another_node_is_not_given_twice() -> None:
    last = (Node(1, 30001, 1), Node(2, 30002, 2), Node(3, 30003, 3))
    nodes = choose(3, port=30002, last=last, pick=random.Random(1), free=lambda _: True)
    assert nodes[0].port == 30002
    assert nodes[1].port != 30002
    assert nodes[2].port == 30003
