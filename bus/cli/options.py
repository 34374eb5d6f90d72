"""Options that several commands share: the workflow's host, and a pace that is a number or `max`.

Called by `agents.cli_demo`, `agents.cli_worker`, `connectors.cli_connector` and `connectors.cli_replay`. The trap it
avoids: one word accepted by one command and refused by the next.
"""

from __future__ import annotations

from bus.errors import UsageError

HOSTS = ("faust", "aiokafka")  # what may carry a workflow; the first is the default everywhere


def known_host(name: str) -> str:
    """`name`, when it is one of `HOSTS`. Raises UsageError otherwise."""
    if name not in HOSTS:
        raise UsageError(f"There is no host {name}.", remedy=f"One of: {', '.join(HOSTS)}.")
    return name


def pace(text: str, *, option: str, example: float) -> float | None:
    """How fast: None for `max`, else a number above 0 (what it counts is the option's own business).

    Args:
        text: as typed.
        option: its name, with dashes, for the error.
        example: a sensible value, for the remedy.

    Raises:
        UsageError: it is neither.
    """
    if text == "max":
        return None
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise UsageError(
            f"{option} {text!r} is neither max nor a number above 0.", remedy=f"Write {option} {example:g}."
        )
    return number
