from __future__ import annotations

import errno
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import CheckFailed, Fenced, OutcomeUnknown, Refused, Unreachable, UsageError
from bus.middleware.retry import Kind, Policy, RetryPolicy, classify, policy_of
from schemas.errors import EnvelopeRefused, Poison, UnknownType


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (Unreachable("x"), Kind.UNREACHABLE),
        (OutcomeUnknown("x", event_id="e"), Kind.UNREACHABLE),
        (ConnectionRefusedError(), Kind.UNREACHABLE),
        (TimeoutError(), Kind.UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "No route to host"), Kind.UNREACHABLE),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), Kind.UNREACHABLE),
        (OSError(errno.EHOSTDOWN, "Host is down"), Kind.UNREACHABLE),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), Kind.UNREACHABLE),
        (FileNotFoundError(errno.ENOENT, "No such file"), Kind.BUG),
        (Poison("x"), Kind.INVALID),
        (EnvelopeRefused("ce_id", "x"), Kind.INVALID),
        (UnknownType("x"), Kind.INVALID),
        (Refused("x"), Kind.REFUSED),
        (Fenced("x"), Kind.REFUSED),
        (CheckFailed([]), Kind.REFUSED),
        (KeyError("x"), Kind.BUG),
        (ValueError("x"), Kind.BUG),
    ],
)
def test_an_error_is_classified_by_what_helps_against_it(error: Exception, kind: Kind) -> None:
    assert classify(error) is kind


@given(st.integers(1, 200), st.floats(0, 1, exclude_max=True))
def test_a_pause_grows_to_its_cap_and_keeps_at_least_half_a_step(attempt: int, chance: float) -> None:
    policy = RetryPolicy(base_s=0.1, cap_s=10)
    step = min(10, 0.1 * 2.0 ** (attempt - 1)) if attempt < 40 else 10
    assert step / 2 <= policy.pause_s(attempt, chance) <= step


def test_only_a_bug_is_counted_and_only_an_outage_has_no_end() -> None:
    policy = RetryPolicy(attempts=3)
    assert [policy.again(Kind.BUG, attempt=n) for n in (1, 2, 3)] == [True, True, False]
    assert policy.again(Kind.UNREACHABLE, attempt=10_000)
    assert not policy.again(Kind.INVALID, attempt=1)
    assert not policy.again(Kind.REFUSED, attempt=1)


def test_a_policy_is_named_or_given() -> None:
    mine = Policy(budget_s=5)
    assert policy_of(mine) is mine
    assert policy_of("ordered") == Policy()
    assert not policy_of("unordered").ordered
    with pytest.raises(UsageError, match="ordered or unordered"):
        policy_of("sorted")


def test_later_tries_double_to_their_cap_and_end() -> None:
    policy = Policy(retry=RetryPolicy(attempts=3), delay_s=10, delay_cap_s=35, delays=4)
    assert [policy.later_s(tries) for tries in range(1, 9)] == [10, 10, 10, 20, 35, 35, None, None]
    assert Policy(delays=0).later_s(1) is None
    assert Policy(delays=10_000).later_s(5_000) == 3_600
