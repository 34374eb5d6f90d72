"""The loop everything runs on."""

from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from bus.event_loop import new_event_loop


def test_it_is_uvloops() -> None:
    loop = new_event_loop()
    assert isinstance(loop, uvloop.Loop)
    loop.close()


def test_without_uvloop_it_is_pythons_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    loop = new_event_loop()
    assert isinstance(loop, asyncio.SelectorEventLoop)
    loop.close()
