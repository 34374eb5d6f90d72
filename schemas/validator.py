"""The validator of what a generated reader has read: the model's own rules, less those the reader has kept already.

Called by the codec once per contract. The digits of a decimal and UTC of a time are told by the bytes, and checked
again by pydantic they cost more than all else of a model (a decimal 1.5 of 1.7 us). The generated writer keeps the same
rules, so what it is about to write is judged by this validator, too. The trap it avoids: a rule that is dropped
although the value it is about is not the one that was read, because a function of the model's comes between; such a
model keeps all its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import SchemaValidator

from schemas.event import Event
from schemas.fields import to_utc

_BEFORE = ("function-before", "function-wrap", "function-plain")
_OF_THE_BYTES = ("max_digits", "decimal_places")


def validator_of(model: type[Event]) -> SchemaValidator:
    """A validator of what `schemas.reader` makes of the contract's bytes.

    Args:
        model: the contract.
    """
    rules: Any = model.__pydantic_core_schema__
    if _changes_first(rules):
        return SchemaValidator(rules)
    return SchemaValidator(_without_the_reader_s(rules), _use_prebuilt=False)


def fields_validator_of(model: type[Event]) -> Callable[[dict[str, Any]], Mapping[str, Any]]:
    """The same judgement, of whoever needs the fields and no model: a third less time.

    Args:
        model: the contract; one that does more than hold its fields is made and taken apart again.

    Returns:
        A function from what `schemas.reader` makes to the fields by name; it raises pydantic's ValidationError.
    """
    rules: Any = model.__pydantic_core_schema__
    inner = rules.get("schema", {})
    if (
        rules["type"] != "model"
        or inner.get("type") != "model-fields"
        or rules.get("post_init")
        or rules["custom_init"]
        or _changes_first(rules)
    ):
        whole = validator_of(model).validate_python
        return lambda fields: vars(whole(fields))
    fields = {
        name: {"type": "typed-dict-field", "schema": _without_the_reader_s(field["schema"])}
        for name, field in inner["fields"].items()
    }
    form = {"type": "typed-dict", "fields": fields, "config": rules["config"], "cls_name": model.__name__}
    judged: Callable[[dict[str, Any]], Mapping[str, Any]] = SchemaValidator(form, _use_prebuilt=False).validate_python
    return judged


def _changes_first(rules: Any) -> bool:
    """Whether a function of the model's sees a value before pydantic does."""
    if isinstance(rules, dict):
        return rules.get("type") in _BEFORE or any(_changes_first(part) for part in rules.values())
    return isinstance(rules, list) and any(_changes_first(part) for part in rules)


def _without_the_reader_s(rules: Any) -> Any:
    if isinstance(rules, list):
        return [_without_the_reader_s(part) for part in rules]
    if not isinstance(rules, dict):
        return rules
    if rules.get("type") == "function-after" and rules["function"]["function"] is to_utc:
        return _without_the_reader_s(rules["schema"])
    dropped = _OF_THE_BYTES if rules.get("type") == "decimal" else ()
    return {name: _without_the_reader_s(part) for name, part in rules.items() if name not in dropped}
