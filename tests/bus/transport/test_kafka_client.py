"""What the kafka-python files share: a quick refusal, translated errors, the guard of what is read."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Coroutine, Generator, Iterator
from typing import Any

import kafka.errors as ke
import pytest
from kafka.net.inet import KafkaNetSocket

from bus.errors import BusError, Fenced, Refused, Unreachable
from bus.transport.kafka_client import REMEDY, asked, options, translated


@pytest.fixture
def listening() -> Iterator[str]:
    """An address somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent() -> str:
    """An address nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


def test_one_address_that_answers_is_enough_and_all_are_given_to_the_client(listening: str, silent: str) -> None:
    found = options(f"{silent}, {listening}", "me")
    assert [address.strip() for address in found["bootstrap_servers"]] == [silent, listening]
    assert found["client_id"] == "me"


def test_an_address_of_version_six_is_knocked_at_without_its_brackets() -> None:
    if not socket.has_ipv6:
        return
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:  # this machine has no IPv6 loopback
        return
    with server:
        options(f"[::1]:{server.getsockname()[1]}", "me")


class Selecting:
    """A loop of kafka-python's whose sockets are never ready."""

    async def wait_write(self, fileobj: socket.socket, timeout_at: float | None) -> None:  # as theirs
        await Parked()


class Parked:
    """Awaited for good."""

    def __await__(self) -> Generator[None]:
        while True:
            yield


class Opened(KafkaNetSocket):  # type: ignore[misc]  # it ships no types
    """Keeps what it opens."""

    SCHEMES = ("kept",)

    def __init__(self) -> None:
        self.opened: list[socket.socket] = []

    def socket(self, *told: Any) -> socket.socket:
        self.opened.append(super().socket(*told))
        return self.opened[-1]


def connecting(opened: Opened, address: str) -> Coroutine[None, None, socket.socket]:
    host, port = address.split(":")
    (info,) = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    under_way: Coroutine[None, None, socket.socket] = opened.connect(Selecting(), info)
    return under_way


def test_a_client_that_closes_while_it_connects_leaves_no_socket_open(listening: str) -> None:
    options(listening, "me")
    opened = Opened()
    under_way = connecting(opened, listening)
    under_way.send(None)
    assert opened.opened[0].fileno() >= 0
    under_way.close()  # as kafka-python's loop ends its tasks
    assert [one.fileno() for one in opened.opened] == [-1]


def test_a_client_that_gives_a_broker_up_leaves_no_socket_open(listening: str) -> None:
    options(listening, "me")
    opened = Opened()
    under_way = connecting(opened, listening)
    under_way.send(None)
    with pytest.raises(ke.KafkaTimeoutError):
        under_way.throw(ke.KafkaTimeoutError("Connection timed out"))
    assert [one.fileno() for one in opened.opened] == [-1]


@pytest.mark.parametrize("address", ["127.0.0.1:none", "127.0.0.1", "", "127.0.0.1:99999999"])
def test_what_is_no_address_is_unreachable_and_no_fault_of_ours(address: str) -> None:
    with pytest.raises(Unreachable):
        options(address, "me")


def test_nobody_listening_is_said_at_once_with_the_remedy(silent: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable, match=f"No Kafka broker answers at {silent}") as refused:
        options(silent, "me")
    assert refused.value.remedy == REMEDY
    assert "refused" in refused.value.message
    assert time.monotonic() - begun < 2, "the client itself would try for five seconds"


def test_whoever_takes_the_options_reads_through_the_splitter(listening: str) -> None:
    from kafka.consumer import fetcher, group

    from bus.transport.splitter import kafka_python_records

    options(listening, "me")
    assert fetcher.MemoryRecords is kafka_python_records.SizedBatches
    assert group.Fetcher is kafka_python_records.SplitFetcher


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ke.NodeNotReadyError(), Unreachable),
        (ke.KafkaConnectionError(), Unreachable),
        (ke.KafkaTimeoutError(), Unreachable),
        (ke.NotLeaderForPartitionError(), Unreachable),
        (ke.CoordinatorNotAvailableError(), Unreachable),
        (ke.UnknownBrokerIdError(), Unreachable),
        (OSError(111, "Connection refused"), Unreachable),
        (TimeoutError("slow"), Unreachable),
        (ke.TopicAuthorizationFailedError(), Refused),
        (ke.InvalidConfigurationError(), Refused),
        (ke.UnsupportedVersionError(), Refused),
    ],
)
def test_each_error_of_the_client_is_one_of_ours_and_says_what_was_tried(
    error: Exception, kind: type[BusError]
) -> None:
    with pytest.raises(kind, match="alter topic x") as found, translated("b:1", "alter topic x"):
        raise error
    assert found.value.__cause__ is error


def test_an_error_of_ours_and_a_bug_pass_as_they_are() -> None:
    for error in (Fenced("moved"), ZeroDivisionError()):
        with pytest.raises(type(error)) as found, translated("b:1", "read"):
            raise error
        assert found.value is error


def test_the_clients_own_log_lines_do_not_reach_the_user_s_terminal() -> None:
    for name in ("kafka", "aiokafka"):
        assert any(isinstance(handler, logging.NullHandler) for handler in logging.getLogger(name).handlers)


def failing(*errors: Exception) -> Callable[[], str]:
    """A question that raises these, one at a time, before it is answered."""
    left = list(errors)

    def call() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return call


def test_a_question_that_meets_a_broker_that_is_away_is_put_to_another() -> None:
    pauses: list[float] = []
    call = failing(ke.KafkaConnectionError("refused"), ke.NodeNotReadyError("1"))
    assert asked("h:1", "list topics", call, sleep=pauses.append) == "answer"
    assert len(pauses) == 2


def test_a_question_that_no_broker_takes_ends_after_a_few_tries() -> None:
    pauses: list[float] = []
    call = failing(*[ke.KafkaConnectionError("refused")] * 50)
    with pytest.raises(Unreachable, match="list topics: KafkaConnectionError"):
        asked("h:1", "list topics", call, sleep=pauses.append)
    assert len(pauses) == 4


def test_a_question_that_a_broker_refused_is_not_put_again() -> None:
    call = failing(ke.TopicAuthorizationFailedError("no"))
    with pytest.raises(Refused):
        asked("h:1", "list topics", call, sleep=lambda _: pytest.fail("asked again"))
