"""The system's clock behind the `Clock` port. Composition roots hold it; rules take a moment as an argument."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The wall clock, UTC."""

    def now(self) -> datetime:
        """The current time, aware, UTC."""
        return datetime.now(UTC)
