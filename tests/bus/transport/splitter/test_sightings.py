"""A fault is believed when the same bytes came three times at one place, and at no other."""

from __future__ import annotations

from threading import Thread

from bus.transport.splitter.limits import FETCHES
from bus.transport.splitter.sightings import Sightings

PLACE = ("t", 0, 7)


def test_the_same_bytes_are_believed_when_they_come_again_and_again_and_from_then_on() -> None:
    seen = Sightings()
    assert [seen.believed(PLACE, b"x") for _ in range(FETCHES + 2)] == [False] * (FETCHES - 1) + [True] * 3


def test_other_bytes_begin_anew_and_other_places_do_not_count() -> None:
    seen = Sightings()
    for _ in range(FETCHES - 1):
        seen.believed(PLACE, b"x")
        seen.believed(("t", 1, 7), b"x")
    assert not seen.believed(PLACE, b"y")
    assert not seen.believed(PLACE, b"x")
    assert not seen.believed(("t", 0, 8), b"x")
    assert seen.believed(("t", 1, 7), b"x")


def test_places_that_are_long_past_are_forgotten() -> None:
    seen = Sightings()
    for offset in range(5_000):
        seen.count(("t", 0, offset), b"x")
    assert len(seen._seen) <= 1024
    assert seen.count(("t", 0, 0), b"x") == 1


def test_no_sighting_is_lost_between_threads() -> None:
    seen = Sightings()
    threads = [Thread(target=lambda: [seen.count(PLACE, b"x") for _ in range(500)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen.count(PLACE, b"x") == 2001
