"""Progress on stderr."""

from __future__ import annotations

import io

from bus.cli.progress import ProgressLine


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line_per_kind_that_replaces_itself() -> None:
    stream = Terminal()
    with ProgressLine(stream, now=lambda: 0.0) as progress:
        progress("Downloading 1 %")
        progress("Downloading 2 %")
        progress("Starting")
    assert stream.getvalue() == "Downloading 1 %\r\x1b[2KDownloading 2 %\nStarting\n"


def test_a_file_gets_a_line_at_most_every_two_seconds_and_each_new_kind() -> None:
    stream, clock = io.StringIO(), [0.0]
    with ProgressLine(stream, now=lambda: clock[0]) as progress:
        for second in range(5):
            clock[0] = float(second)
            progress(f"Downloading {second}")
        progress("Starting")
    assert stream.getvalue().splitlines() == ["Downloading 0", "Downloading 2", "Downloading 4", "Starting"]
    assert "\x1b" not in stream.getvalue()


def test_nothing_said_leaves_nothing() -> None:
    stream = Terminal()
    with ProgressLine(stream):
        pass
    assert not stream.getvalue()
