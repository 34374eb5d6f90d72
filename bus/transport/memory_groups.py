"""A consumer group in memory: join, settle, leave, with the range assignor.

Called by `bus.transport.memory` under the cluster's lock. The trap it avoids: handing a partition to a joining member
while its owner still works on it. As in Kafka's classic protocol, a rebalance settles only when every member has
polled again; until then the old owners may commit and nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bus.message import Partition

Member = object  # the consumer itself stands for its membership


@dataclass
class Group:
    """Members, commits and who owns what."""

    name: str
    commits: dict[Partition, int] = field(default_factory=dict)
    members: dict[Member, tuple[str, ...]] = field(default_factory=dict)
    owned: dict[Member, frozenset[Partition]] = field(default_factory=dict)
    waiting: set[Member] = field(default_factory=set)  # members that have sent their join of this round
    preparing: bool = False
    generation: int = 0

    def take_part(self, member: Member, topics: tuple[str, ...], partitions: Sequence[Partition]) -> bool:
        """Let `member` join if it is new, and send its join if a round is open. Return whether anything moved.

        Args:
            member: the consumer.
            topics: those it reads.
            partitions: all there are, to be shared out when the last member has joined.
        """
        if member not in self.members:
            self.members[member] = topics
            self.preparing = True
        if not self.preparing:
            return False
        self.waiting.add(member)
        self.owned.pop(member, None)
        if self.waiting == set(self.members):
            self._settle(partitions)
        return True

    def leave(self, member: Member) -> None:
        """Take `member` out; the others settle at their next poll."""
        if self.members.pop(member, None) is not None:
            self.owned.pop(member, None)
            self.waiting.discard(member)
            self.preparing = bool(self.members)

    def _settle(self, partitions: Sequence[Partition]) -> None:
        self.owned = assign_range(self.members, partitions)
        self.waiting.clear()
        self.preparing = False
        self.generation += 1


def assign_range(
    members: dict[Member, tuple[str, ...]], partitions: Sequence[Partition]
) -> dict[Member, frozenset[Partition]]:
    """Kafka's range assignor: per topic, consecutive numbers, so that A/n and B/n meet on one member (F63).

    Source: org.apache.kafka.clients.consumer.RangeAssignor; members in order of joining here, of member id there.
    """
    owned: dict[Member, set[Partition]] = {member: set() for member in members}
    for topic in sorted({topic for topics in members.values() for topic in topics}):
        readers = [member for member, topics in members.items() if topic in topics]
        numbers = sorted(p for p in partitions if p.topic == topic)
        each, rest = divmod(len(numbers), len(readers))
        at = 0
        for i, member in enumerate(readers):
            size = each + (i < rest)
            owned[member].update(numbers[at : at + size])
            at += size
    return {member: frozenset(mine) for member, mine in owned.items()}
