"""Hypothesis strategies for events of any contract, from the same annotations pydantic validates with."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Union, get_args, get_origin
from uuid import UUID

from hypothesis import strategies as st
from pydantic import AwareDatetime, ValidationError
from pydantic.fields import FieldInfo

from schemas.event import Event, Part
from schemas.shape import _flat

_MOMENTS = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))


def events(model: type[Event]) -> st.SearchStrategy[Any]:
    """Valid events of `model`."""
    return _model(model)


def _model(model: type[Part]) -> st.SearchStrategy[Any]:
    fields = {n: _field(f) for n, f in model.model_fields.items()}

    def build(values: dict[str, Any]) -> Any:
        try:
            return model(**values)
        except ValidationError:  # a rule between fields
            return None

    return st.fixed_dictionaries(fields).map(build).filter(lambda event: event is not None)


def _field(field: FieldInfo) -> st.SearchStrategy[Any]:
    return _value(field.annotation, list(field.metadata))


def _first(metadata: Iterable[Any], name: str) -> Any:
    return next((getattr(m, name) for m in metadata if getattr(m, name, None) is not None), None)


def _value(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    metadata = list(_flat(metadata))
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(args[0], [*metadata, *args[1:]])
    if origin in {Union, types.UnionType}:
        return st.none() | _value(next(a for a in args if a is not type(None)), metadata)
    if origin is list:
        return st.lists(_value(args[0], []), max_size=4)
    if origin is dict:
        return st.dictionaries(_value(args[0], []), _value(args[1], []), max_size=4)
    return _plain(annotation, metadata)


def _plain(annotation: Any, metadata: list[Any]) -> st.SearchStrategy[Any]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return st.sampled_from(list(annotation))
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return _model(annotation)
    plain: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
        str: lambda: _text(metadata),
        int: lambda: _number(metadata),
        Decimal: lambda: _money(metadata),
        AwareDatetime: lambda: _MOMENTS,
        bool: st.booleans,
        bytes: lambda: st.binary(max_size=100),
        date: st.dates,
        UUID: st.uuids,
    }
    return plain[annotation]()


def _number(metadata: list[Any]) -> st.SearchStrategy[int]:
    low, high = _first(metadata, "ge"), _first(metadata, "le")
    return st.integers(-(2**63) if low is None else low, 2**63 - 1 if high is None else high)


def _money(metadata: list[Any]) -> st.SearchStrategy[Decimal]:
    places = _first(metadata, "decimal_places")
    top = 10 ** _first(metadata, "max_digits") - 1
    low = 0 if _first(metadata, "ge") == 0 else -top
    return st.integers(low, top).map(lambda n: Decimal(n).scaleb(-places))


def _text(metadata: list[Any]) -> st.SearchStrategy[str]:
    low, high, pattern = (
        _first(metadata, "min_length") or 0,
        _first(metadata, "max_length"),
        _first(metadata, "pattern"),
    )
    if pattern is None:
        return st.text(st.characters(exclude_categories=["Cs"]), min_size=low, max_size=min(high or 80, 80))
    found = st.from_regex(pattern.removesuffix("$") + r"\Z", alphabet=st.characters(exclude_categories=["Cs"]))
    return found.filter(lambda text: low <= len(text) <= (high or len(text)) and "\n" not in text)
