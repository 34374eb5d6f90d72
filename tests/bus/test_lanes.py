"""The fold of a partition's parked rows; every rule here is one that order per key rests on."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from bus.message import Record
from bus.middleware.lanes import Parking
from bus.middleware.parking import QUEUED, Command, Entry, Mode, command_key, entry_key, pack, pack_command
from tests.bus.test_parking import FAILURE, WHEN

TOPIC, OTHER = "a.b.c.v1", "z.b.c.v1"
LATER = WHEN + timedelta(minutes=1)


def record(offset: int, *, key: bytes | None = b"k", topic: str = TOPIC, timestamp: int = 0) -> Record:
    return Record(topic, 2, offset, timestamp, key, b"v", ())


def failed(offset: int, **told: object) -> Entry:
    return Entry(record=record(offset, **told), failure=FAILURE)  # type: ignore[arg-type]  # the arguments of `record`


def queued(offset: int, **told: object) -> Entry:
    return Entry(record=record(offset, **told), failure=replace(FAILURE, stage=QUEUED))  # type: ignore[arg-type]


def command(name: str = "1", do: str = "release", *, topic: str | None = TOPIC, key: bytes = b"k") -> Command:
    return Command(id=name, do=do, topic=topic, key=key, by="clerk", at=WHEN)  # type: ignore[arg-type]


class Desk(Parking):
    """A parking that takes entries and commands instead of rows."""

    def park(self, *entries: Entry) -> None:
        for entry in entries:
            self.apply(entry_key(entry), pack(entry))

    def settle(self, *entries: Entry) -> None:
        for entry in entries:
            self.apply(entry_key(entry), None)

    def order(self, *commands: Command) -> None:
        for said in commands:
            self.apply(command_key(said), pack_command(said))


def test_a_failed_entry_holds_its_key_on_its_topic_and_no_other() -> None:
    desk = Desk()
    desk.park(failed(3))
    assert desk.held(TOPIC, b"k")
    assert not desk.held(OTHER, b"k")
    assert not desk.held(TOPIC, b"other")
    assert desk.next(LATER) is None


def test_across_topics_one_key_has_one_lane_in_the_order_of_time() -> None:
    desk = Desk(across=True)
    desk.park(failed(9, timestamp=10), queued(1, topic=OTHER, timestamp=30), queued(10, timestamp=20))
    assert [e.record.timestamp for e in desk.queue(OTHER, b"k")] == [10, 20, 30]
    desk.order(command(topic=OTHER))
    assert desk.next(WHEN) == failed(9, timestamp=10)


def test_in_one_topic_the_offset_is_the_order_whatever_the_writer_s_clock_says() -> None:
    desk = Desk()
    desk.park(queued(4, timestamp=1), failed(3, timestamp=2))
    assert [e.record.offset for e in desk.queue(TOPIC, b"k")] == [3, 4]


def test_the_first_of_a_long_queue_is_told_without_a_look_at_the_others() -> None:
    desk = Desk()
    desk.park(failed(3), queued(4))
    walk = desk.queue(TOPIC, b"k")
    assert next(walk) == failed(3)
    desk.settle(queued(4))
    assert list(walk) == []


def test_a_release_hands_the_queue_over_in_order_until_the_next_failure() -> None:
    desk = Desk()
    desk.park(failed(3), queued(4), queued(5))
    desk.order(command())
    assert desk.next(WHEN) == failed(3)
    desk.settle(failed(3))
    assert desk.next(WHEN) == queued(4)
    desk.park(failed(4))  # it fails in its turn
    assert desk.next(LATER) is None
    assert [e.record.offset for e in desk.queue(TOPIC, b"k")] == [4, 5]
    assert desk.spent() == (command(),)


def test_a_release_counts_for_what_failed_before_it_and_not_for_a_new_failure() -> None:
    desk = Desk()
    desk.park(failed(3))
    desk.order(command())
    desk.park(failed(3))
    assert desk.next(LATER) is None


def test_a_key_flows_again_once_its_queue_is_empty() -> None:
    desk = Desk()
    desk.park(failed(3), queued(4))
    desk.order(command())
    desk.settle(failed(3), queued(4))
    assert not desk.held(TOPIC, b"k")
    assert desk.next(LATER) is None
    assert (len(desk), desk.spent()) == (0, (command(),))


def test_a_drop_gives_up_what_failed_and_lets_the_queue_go_on() -> None:
    desk = Desk()
    desk.park(failed(3), queued(4))
    desk.order(command(do="drop"))
    head = desk.next(WHEN)
    assert head == failed(3)
    assert desk.dropped(failed(3))
    assert not desk.dropped(queued(4))
    assert desk.spent() == ()
    desk.settle(failed(3))
    assert desk.next(WHEN) == queued(4)
    assert not desk.dropped(queued(4))


def test_the_last_command_for_an_entry_counts() -> None:
    desk = Desk()
    desk.park(failed(3))
    desk.order(command("1", "drop"), command("2", "release"))
    assert not desk.dropped(failed(3))
    assert desk.spent() == (command("1", "drop"),)
    desk.apply(b"!2", None)
    assert desk.next(LATER) is None


def test_a_command_for_every_topic_reaches_each_and_one_for_none_is_spent() -> None:
    desk = Desk()
    desk.park(failed(3), failed(1, topic=OTHER), failed(2, key=b"other"))
    desk.order(command("1", topic=None), command("2", key=b"nobody"))
    assert desk.spent() == (command("2", key=b"nobody"),)
    tried = []
    while (entry := desk.next(WHEN)) is not None:
        tried.append((entry.record.topic, entry.record.offset))
        desk.settle(entry)
    assert sorted(tried) == [(TOPIC, 3), (OTHER, 1)]
    assert desk.held(TOPIC, b"other")


def test_an_entry_that_is_alone_holds_nothing_back_and_comes_when_it_is_due_or_released() -> None:
    desk = Desk()
    one, two = (replace(failed(n), mode=Mode.ALONE, due=LATER) for n in (3, 4))
    desk.park(one, two)
    assert not desk.held(TOPIC, b"k")
    assert desk.next(LATER - timedelta(microseconds=1)) is None
    assert desk.next(LATER) == one
    desk.settle(one)
    assert desk.next(WHEN) is None
    desk.order(command())
    assert desk.next(WHEN) == two


def test_a_redriven_letter_is_tried_at_once_unless_its_key_waits_for_an_older_one() -> None:
    letter = replace(failed(3), due=WHEN, redrive=1, action="7f")
    desk = Desk()
    desk.park(letter)
    assert desk.next(WHEN) == letter
    desk.park(failed(2))
    assert desk.next(LATER) is None
    desk.park(failed(5))
    desk.settle(failed(2))
    assert desk.next(LATER) == letter


def test_records_without_a_key_share_a_lane_of_their_topic() -> None:
    desk = Desk()
    desk.park(failed(3, key=None))
    assert desk.held(TOPIC, None)
    assert not desk.held(TOPIC, b"")


# A command's id is a fresh one (`bus.operators`): it never comes to mean something else.
COMMANDS = [
    command(f"{do} {key.decode()} {number}", do, key=key, topic=None)
    for do in ("release", "drop")
    for key in (b"k", b"l")
    for number in (1, 2)
]
rows = st.lists(
    st.one_of(
        st.builds(
            lambda offset, key, stage, due, mode: (
                entry_key(
                    e := Entry(
                        record=record(offset, key=key), failure=replace(FAILURE, stage=stage), mode=mode, due=due
                    )
                ),
                pack(e),
            ),
            st.integers(0, 4),
            st.sampled_from([b"k", b"l"]),
            st.sampled_from([QUEUED, "handler"]),
            st.sampled_from([None, WHEN, LATER]),
            st.sampled_from(Mode),
        ),
        st.builds(lambda offset: (entry_key(failed(offset)), None), st.integers(0, 4)),
        st.sampled_from(COMMANDS).map(lambda said: (command_key(said), pack_command(said))),
        st.sampled_from(COMMANDS).map(lambda said: (command_key(said), None)),
    ),
    max_size=30,
)


def told(parking: Parking) -> object:
    return (
        sorted(map(entry_key, parking)),
        [[entry_key(e) for e in parking.queue(TOPIC, key)] for key in (b"k", b"l")],
        sorted(said.id for said in parking.spent()),
        sorted(entry_key(e) for e in parking if parking.dropped(e)),
        parking.next(WHEN) is None,
        parking.next(LATER) is None,
    )


@given(rows=rows, data=st.data())
def test_the_state_is_the_same_after_any_compaction(
    rows: list[tuple[bytes, bytes | None]], data: st.DataObject
) -> None:
    """Kafka's cleaner keeps the last row of each key, in place; it may or may not have come to the others yet."""
    whole, cleaned = Desk(), Parking()
    written: list[tuple[bytes, bytes | None]] = []
    for key, value in rows:
        if value is not None or key[:1] != b"!" or key in map(command_key, whole.spent()):  # a command is removed last
            whole.apply(key, value)
            written.append((key, value))
    last = {key: index for index, (key, _) in enumerate(written)}
    for index, (key, value) in enumerate(written):
        if last[key] == index or data.draw(st.booleans()):
            cleaned.apply(key, value)
    assert told(whole) == told(cleaned)


@given(rows=rows)
def test_everything_is_handed_out_once_everything_is_released_and_in_order(
    rows: list[tuple[bytes, bytes | None]],
) -> None:
    desk = Desk()
    for key, value in rows:
        desk.apply(key, value)
    count, tried = len(desk), []
    desk.order(command("9", topic=None), command("8", topic=None, key=b"l"))
    while (entry := desk.next(LATER)) is not None:
        tried.append(entry)
        desk.settle(entry)
    assert len(tried) == count
    assert len(desk) == 0
    for key in (b"k", b"l"):
        offsets = [e.record.offset for e in tried if e.mode is Mode.KEY and e.record.key == key]
        assert offsets == sorted(offsets)
