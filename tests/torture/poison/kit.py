"""The events the corpus bends: contracts, topics, and what one hostile record is expected to come to at each reader.

Used by the `corpus_*` modules and the suite. Every record carries a token of its own (its case, and the end of its
event id), so that each delivery and each loss has a name. The trap it avoids: an expectation read off from what the
readers happened to do; each case says itself what must become of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from bus.partitioner import partition_for
from schemas import avro
from schemas.codec import Codec
from schemas.envelope import Envelope, to_headers
from schemas.event import Event, PersonalData
from tests.agents.harness import PARTITIONS, World
from tests.torture.poison.wire import Batch, Header, Item

TIME = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


class Colour(StrEnum):
    """An enumeration to point past the end of."""

    RED = "red"
    OTHER = "other"


@dataclass(frozen=True)
class PoisonWorld(World):
    """A world whose opening event has a list, text and an enumeration: something to lie about."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "asked", _rich(self.agency))


def _rich(agency: str) -> type[Event]:
    class Note(Event, contract="note.asked", agencies=(agency,), personal_data=PersonalData.NONE):
        """A note that is asked for."""

        number: int
        """Any number."""
        text: str = "a note"
        """What it says."""
        tags: list[str] = Field(default_factory=list)
        """Words."""
        colour: Colour = Colour.RED
        """Its colour."""

    return Note


# --- expectations ---------------------------------------------------------------------------------------------------

WORKFLOW, SDK, OFFICE, READER = "workflow", "sdk", "office", "reader"
READERS = (WORKFLOW, SDK, OFFICE, READER)
Fate = Mapping[str, str]  # reader -> stage of its dead letter; a reader that is not named delivers the record
FINE: Fate = {}
WIRE: Fate = dict.fromkeys(READERS, "batch")
ENVELOPE: Fate = dict.fromkeys((WORKFLOW, SDK, OFFICE), "envelope")
DECODE: Fate = dict.fromkeys((WORKFLOW, SDK, OFFICE), "decode")
PLACE: Fate = {WORKFLOW: "envelope"}  # only workflows need the record where its case's others are


@dataclass(frozen=True, slots=True)
class Evil:
    """One hostile record among good neighbours, or one hostile batch.

    Args:
        name: said in a failure.
        fate: what becomes of it.
        bend: makes the record of an honest one.
        codec: of its batch.
        batch: makes the batch of one with three honest records; then all of it shares the fate when `whole` holds.
        whole: the fate is that of the batch as one: no record of it can be delivered.
        loose: and nothing is known of where it ends.
        spared: places in the batch whose records are delivered all the same.
        positions: where it stands in a batch of three: 0 first, 1 middle, 2 last.
        refused: brokers do not store it; it is put into their answers.
        heavy: too large for a slice.
    """

    name: str
    fate: Fate
    bend: Callable[[Kit, Item], Item] | None = None
    codec: int = 0
    batch: Callable[[Batch], Batch] | None = None
    whole: bool = False
    loose: bool = False
    spared: Sequence[int] = ()
    positions: Sequence[int] = (0, 1, 2)
    refused: bool = False
    heavy: bool = False


@dataclass(slots=True)
class Kit:
    """Makes honest records of a world.

    Args:
        world: whose contracts. partition: where its records belong.
    """

    world: World
    partition: int = 0
    _count: itertools.count[int] = field(default_factory=itertools.count)
    _parts: dict[str, Any] = field(default_factory=dict)

    @property
    def codec(self) -> Codec:
        """Of the world's catalogue."""
        if "codec" not in self._parts:
            self._parts["codec"] = Codec(self.world.catalogue)
        found: Codec = self._parts["codec"]
        return found

    def token(self) -> str:
        """A case id that belongs to this partition and to no other record."""
        while True:
            token = f"c{self.partition}-{next(self._count)}"
            if partition_for(token.encode(), PARTITIONS) == self.partition:
                return token

    def good(self, token: str | None = None) -> Item:
        """An honest record."""
        case = self.token() if token is None else token
        return Item(key=case.encode(), value=self.value(), headers=tuple(self.headers(case).items()))

    def value(self, **fields: Any) -> bytes:
        """The bytes of an honest event."""
        return self.codec.encode(self.world.asked.model_validate({"number": 1, **fields}))

    def headers(self, case: str, **changed: Any) -> dict[bytes, bytes | None]:
        """The headers of an honest event, with attributes of its envelope changed."""
        topic = self.world.topic("asked")
        said: dict[str, Any] = {
            "id": f"e/{case}",
            "source": f"/agencies/{self.world.agency}",
            "type": topic,
            "time": TIME,
            "correlationid": case,
        }
        return {name.encode(): value for name, value in to_headers(Envelope(**{**said, **changed}))}

    @property
    def prefix(self) -> bytes:
        """The frame of the contract's own schema."""
        return self.value()[:5]

    def frame(self, number: int) -> bytes:
        """The frame of another schema."""
        return b"\0" + number.to_bytes(4, "big")

    @property
    def rogues(self) -> dict[int, dict[str, Any]]:
        """Schemas by id as they could stand among the known ones: a harmless older version, and two that bite."""
        name = f"{self.world.asked.contract}"
        schema = avro.shape_and_schema(self.world.asked)[1]
        named = {"type": "record", "name": schema["name"], "namespace": schema["namespace"]}
        older = {**schema, "fields": [f for f in schema["fields"] if f["name"] in {"number", "tags"}]}
        empty = {"type": "record", "name": "Empty", "fields": []}
        return {
            OLDER: older,
            RECURSIVE: {**named, "fields": [{"name": "next", "type": ["null", schema["name"]]}]},
            WEIGHTLESS: {**named, "fields": [{"name": "tags", "type": {"type": "array", "items": empty}}]},
            STRANGER: {**named, "name": f"{schema['name']}Other", "doc": name, "fields": []},
        }


OLDER, RECURSIVE, WEIGHTLESS, STRANGER, UNKNOWN = 900_001, 900_002, 900_003, 900_004, 900_005


def header(item: Item, name: str, *values: bytes | None) -> Item:
    """`item` with the header `name` once for each of `values`, in the place of those it has."""
    others: tuple[Header, ...] = tuple(h for h in item.headers if h[0] != name.encode())
    return replace(item, headers=others + tuple((name.encode(), value) for value in values))
