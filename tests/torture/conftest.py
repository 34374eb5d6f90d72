"""The fixture `bar`, for all tests of this folder."""

from tests.torture.bars_plugin import bar

__all__ = ["bar"]
