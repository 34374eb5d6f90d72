"""How much is decided at once: as much as one batch of the case log surely takes.

Called by `agents.runner`. The trap it avoids: a process of large cases whose full decisions never fit: each is made,
thrown away and made again in parts.
"""

from __future__ import annotations

from collections.abc import Sequence

TAKE = 500  # pieces of work of one case partition decided at once; bounds a batch and the latency behind it


def next_limit(limit: int, batches: Sequence[tuple[int, int]], room: int) -> int:
    """Most pieces of work of the next decisions.

    Args:
        limit: that of the last ones.
        batches: pieces of work in each of them, and the bytes their rows take.
        room: bytes a batch of the log takes.

    Returns:
        At most `TAKE`, at least 1. As many as fit if they are like the largest of the last, with a fifth left free; at
        most half of the last when one did not fit, so that one huge piece is alone within nine tries.
    """
    fits = min((room * pieces * 4 // (size * 5) for pieces, size in batches), default=TAKE)
    if any(size > room for _, size in batches):
        fits = min(fits, limit // 2)
    return max(1, min(TAKE, fits))
