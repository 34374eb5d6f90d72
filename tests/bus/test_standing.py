"""What waits for a person is counted; what is settled or tried again by itself is not."""

from __future__ import annotations

from bus.parked_desk import ParkedDesk
from bus.selfcheck import Verdict
from bus.standing import look
from bus.testing import memory_cluster
from bus.transport.memory import MemoryCluster
from tests.bus.letters import GROUP, desk_on, fill, make_topics
from tests.bus.parked import NOW, entry, park


def found(cluster: MemoryCluster) -> list[Verdict]:
    return look(desk_on(cluster), ParkedDesk(cluster.reader(), cluster.topics, progress=lambda sentence: None))


def test_open_letters_and_keys_that_stand_are_counted_per_group() -> None:
    cluster = memory_cluster()
    assert found(cluster) == []
    make_topics(cluster)
    make_topics(cluster, group="other")
    assert found(cluster) == []
    fill(cluster, 4)
    park(cluster, entry(1, b"a"), entry(2, b"a", queued=True), entry(3, b"b", due=NOW), group="other")
    letters, keys = found(cluster)
    assert (letters.rule, letters.subject, letters.level) == ("dead-letters", GROUP, "warning")
    assert letters.message.startswith("4 dead letter(s) are open, the oldest since 2026-01-05T08:00:00")
    assert (keys.rule, keys.subject, keys.level) == ("parked", "other", "warning")
    assert keys.message.startswith("1 key(s) stand still with 2 record(s)")
    assert "--group other" in keys.remedy
