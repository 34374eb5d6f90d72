"""The yardstick: plain Faust doing the worker's job the way its documentation shows it, with default settings.

Started by `tests.bench.worker` and `tests.bench.latency`. A JSON `faust.Record` in, a table with a changelog, one
awaited `send` out. It knows no event ids, so after a crash it loses and repeats; it is only fast or slow.

Usage: python -m tests.bench.plain_faust BOOTSTRAP GROUP WEB_PORT DATA_DIR
"""

from __future__ import annotations

import sys
from typing import Any

import faust

from tests.bench.cluster import PARTITIONS
from tests.bench.recorded import PLAIN_FOLLOWED, PLAIN_TOPIC


class Recorded(faust.Record):  # type: ignore[misc]  # faust ships no complete types
    """One event of a recorded case."""

    id: str
    case: str
    time: str
    run: str
    activity: str
    sequence: int
    last: bool
    attributes: dict[str, str]
    case_attributes: dict[str, str]


class CaseState(faust.Record):  # type: ignore[misc]  # as above
    """What is kept of a case."""

    run: str = ""
    activity: str = ""
    events: int = 0
    closed: bool = False


class Followed(faust.Record):  # type: ignore[misc]  # as above
    """What is said about each event."""

    run: str
    activity: str
    sequence: int
    last: bool
    caused_by: str


def build(bootstrap: str, group: str, web_port: int, data_dir: str) -> faust.App:
    """The app; the first two settings every Faust program gives, the others keep two runs apart on one machine."""
    app = faust.App(group, broker=f"kafka://{bootstrap}", web_port=web_port, datadir=data_dir)
    recorded = app.topic(PLAIN_TOPIC, key_type=str, value_type=Recorded)
    followed = app.topic(PLAIN_FOLLOWED, key_type=str, value_type=Followed)
    cases = app.Table("cases", default=CaseState, partitions=PARTITIONS)

    @app.agent(recorded)  # type: ignore[untyped-decorator]  # as above
    async def follow(stream: Any) -> None:
        async for event in stream:
            state = cases[event.case]
            state.run = event.run
            state.activity = event.activity
            state.events += 1
            state.closed = event.last
            cases[event.case] = state
            await followed.send(
                key=event.case,
                value=Followed(
                    run=event.run,
                    activity=event.activity,
                    sequence=event.sequence,
                    last=event.last,
                    caused_by=event.id,
                ),
            )

    return app


if __name__ == "__main__":
    bootstrap, group, web_port, data_dir = sys.argv[1:]
    faust.Worker(build(bootstrap, group, int(web_port), data_dir), loglevel="WARN").execute_from_commandline()
