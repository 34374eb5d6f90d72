from __future__ import annotations

import pytest

from bus.cli import options
from bus.errors import UsageError


def test_a_host_is_one_of_two() -> None:
    assert [options.known_host(name) for name in options.HOSTS] == ["faust", "aiokafka"]
    with pytest.raises(UsageError, match=r"There is no host abacus\. One of: faust, aiokafka\."):
        options.known_host("abacus")


@pytest.mark.parametrize(("text", "number"), [("max", None), ("3600", 3600.0), ("0.5", 0.5), ("1e3", 1000.0)])
def test_a_pace_is_max_or_a_number_above_zero(text: str, number: float | None) -> None:
    assert options.pace(text, option="--rate", example=50) == number


@pytest.mark.parametrize("text", ["", "0", "-1", "fast", "nan", "inf", "-inf", "MAX"])
def test_any_other_pace_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match=r"--rate .* is neither max nor a number above 0\. Write --rate 50\."):
        options.pace(text, option="--rate", example=50)
