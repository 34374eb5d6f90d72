"""The peer: Quix Streams with RocksDB state and its changelog, one follow-up per event, as its documentation shows it.

Started by `tests.bench.sides`, in an environment of its own (it wants older versions than ours). Processing guarantee
at-least-once and a checkpoint every 5 s, both its defaults: state and changelog are written at the checkpoint, outputs
before it, so after a crash up to 5 s of work is done again; the ids of the follow-ups stay the same. A run shorter than
a checkpoint has not yet paid for its changelog, which flatters it.

Usage: python -m tests.bench.quix BOOTSTRAP GROUP WORK HEARD_ID SAID_ID STATE_DIR
"""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application

from tests.bench.by_hand import ByHand


def build(bootstrap: str, group: str, by_hand: ByHand, state_dir: str) -> Application:
    """The application."""
    app = Application(
        broker_address=bootstrap,
        consumer_group=group,
        auto_offset_reset="earliest",
        state_dir=state_dir,
        loglevel="WARNING",
    )
    heard = app.topic(by_hand.work.topic, value_deserializer="bytes")
    said = app.topic(by_hand.work.answers, value_serializer="bytes")

    def follow(value: bytes, key: bytes, _timestamp: int, headers: Any, state: Any) -> Any:
        told = by_hand.read(key, value, headers)
        case = state.get("case", {"events": 0, "noted": "", "ids": []})
        if told.id in case["ids"]:
            return None
        case["events"] += 1
        case["noted"] = told.noted
        case["ids"].append(told.id)
        state.set("case", case)
        return by_hand.answer(told)

    sdf = app.dataframe(heard)
    sdf = sdf.apply(follow, stateful=True, metadata=True)
    sdf = sdf.filter(lambda answer: answer is not None)
    sdf = sdf.set_headers(lambda answer, _key, _timestamp, _headers: answer[1])
    sdf = sdf.apply(lambda answer: answer[0])
    sdf.to_topic(said)
    return app


if __name__ == "__main__":
    bootstrap, group, work, heard, said, state_dir = sys.argv[1:]
    build(bootstrap, group, ByHand(work, int(heard), int(said)), state_dir).run()
