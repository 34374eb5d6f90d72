"""Writes, as Python source, the function that takes from an event's fields those a process needs, as JSON values.

Called once per topic a worker reads. The function knows from the contract what each value is, and asks none of them:
for the wide event of the benchmarks that is a third of the time of asking. Times are RFC 3339 in UTC, dates ISO 8601,
decimals and UUIDs text, bytes base64, enumerations their value. The trap it avoids: a kind of field that contracts
may have and cases may not, found when the first event of a case carries it.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from agents.graph import Graph, Json
from schemas.catalogue import Catalogue
from schemas.envelope import format_time
from schemas.shape import Choice, Group, Leaf, Many, Maybe, Money, Shape, Table, shape_of
from schemas.source import Source

Extract = Callable[[Mapping[str, Any]], dict[str, Json]]
"""From the fields of an event by name (`Codec.decode_fields`, or ``vars`` of its model)."""


def extract(graphs: Sequence[Graph], topic: str, catalogue: Catalogue) -> Extract:
    """The function that takes from an event's fields those that any of the processes needs.

    Args:
        graphs: the processes; several when old and new versions of one run side by side.
        topic: what one of them reads.
        catalogue: knows the topic's model.

    Raises:
        KeyError: when none of the processes reads the topic.
    """
    needs = [graph.needs[topic] for graph in graphs if topic in graph.needs]
    if not needs:
        raise KeyError(topic)
    shapes = {slot.name: slot.shape for slot in shape_of(catalogue.topic(topic).model).slots}
    source = _Taker()
    source.scope |= {"time": format_time, "base64": urlsafe_b64encode}
    source.put("def take(fields):", 0)
    taken = []
    for path in sorted({path for fields in needs for path in fields}):
        name, *rest = path.split(".")
        taken.append(f"{path!r}: {source.taken(shapes[name], f'fields[{name!r}]', rest)}")
    source.put(f"return {{{', '.join(taken)}}}", 1)
    scope, _ = source.run(title=f"fields of {topic}")
    take: Extract = scope["take"]
    return take


class _Taker(Source):
    """Expressions of fields as JSON."""

    def taken(self, shape: Shape, value: str, path: Sequence[str]) -> str:  # noqa: PLR0911  # one return per shape
        """What stands at `path` in `value`, of this shape; None when a part on the way is missing."""
        match shape:
            case Maybe(item):
                name = self.fresh()
                there = self.taken(item, name, path)
                return value if there == name else f"(None if ({name} := {value}) is None else {there})"
            case Group() if path:
                slot = next(slot for slot in shape.slots if slot.name == path[0])
                return self.taken(slot.shape, f"{value}.{slot.name}", path[1:])
            case Group():
                parts = (f"{slot.name!r}: {self.taken(slot.shape, f'{value}.{slot.name}', ())}" for slot in shape.slots)
                return f"{{{', '.join(parts)}}}"
            case Many(item):
                name = self.fresh()
                return f"[{self.taken(item, name, ())} for {name} in {value}]"
            case Table(item):
                key, name = self.fresh(), self.fresh()
                return f"{{{key}: {self.taken(item, name, ())} for {key}, {name} in {value}.items()}}"
            case Choice():
                return f"{value}._value_"  # `value` is a property, four times slower
            case Money():
                return f"str({value})"
            case Leaf(kind):
                return _LEAVES[kind].format(value)


_LEAVES = {
    "string": "{}",
    "long": "{}",
    "boolean": "{}",
    "bytes": "base64({}).decode()",
    "date": "{}.isoformat()",
    "moment": "time({})",
    "uuid": "str({})",
}
