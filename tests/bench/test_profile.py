"""The profile wraps functions by name: one that has moved must not vanish from it in silence."""

from __future__ import annotations

from tests.bench import profile


def test_the_profile_still_finds_every_stage_it_watches() -> None:
    table = profile.table(200)
    for stage in ("envelope", "decode value", "step", "pack case", "check outputs", "places in trail", "timers"):
        assert stage in table
