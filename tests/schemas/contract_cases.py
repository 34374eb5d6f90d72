"""The checks every contract's test makes: a good payload is taken, each bad change is refused at its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.event import Event


def refuses(model: type[Event], good: dict[str, Any], field: str, *values: Any) -> None:
    """`good` is valid, and with each of `values` in `field` it is refused, naming that field."""
    model.model_validate_json(json.dumps(good))
    for value in values:
        with pytest.raises(ValidationError) as caught:
            model.model_validate_json(json.dumps({**good, field: value}))
        assert {e["loc"][0] for e in caught.value.errors()} == {field}, value


def requires(model: type[Event], good: dict[str, Any], *fields: str) -> None:
    """Exactly `fields` cannot be left out."""
    for field in model.model_fields:
        rest = {name: value for name, value in good.items() if name != field}
        if field in fields:
            with pytest.raises(ValidationError, match=field):
                model.model_validate_json(json.dumps(rest))
        else:
            model.model_validate_json(json.dumps(rest))
