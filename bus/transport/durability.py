"""Clients as they were built, and the cluster an inbox stands on: refused when a record could be lost or read twice.

Called where clients are made (`kafka_producer`, `kafka_consumer`, the workers' hosts) and before a subscription joins
its group (`kafka`). The trap it avoids: a check of our own constants says nothing; a client library's default, an
option someone adds, or a variable of the environment that faust reads (``CONSUMER_AUTO_OFFSET_RESET`` and others) is
seen only in what the built client will do. aiokafka keeps that in private fields, so one that is gone counts as wrong.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from bus import selfcheck
from bus.errors import Refused
from bus.selfcheck import Verdict
from bus.transport import kafka_facts
from bus.transport.kafka_admin import KafkaAdmin

_log = logging.getLogger(__name__)
_GONE = "unknown"


def refuse_weak_producer(client: Any) -> None:
    """Refuse an aiokafka producer whose acknowledgement may not last, or whose retry may store twice.

    Args:
        client: an ``AIOKafkaProducer``, started or not.

    Raises:
        Refused: names the setting and the remedy.
    """
    selfcheck.refuse(list(check_producer(client)))


def refuse_weak_consumer(client: Any) -> None:
    """Refuse a consumer that would skip records, show aborted ones, or commit what was not done.

    Args:
        client: an ``AIOKafkaConsumer`` or kafka-python's ``KafkaConsumer``.

    Raises:
        Refused: names the setting and the remedy.
    """
    selfcheck.refuse(list(check_consumer(client)))


def check_producer(client: Any) -> Iterator[Verdict]:
    """What is wrong with a built aiokafka producer."""
    acks = getattr(getattr(client, "_sender", None), "_acks", _GONE)
    if acks not in (-1, "all"):
        message = f"This producer counts a record as stored after acks={acks}: it can vanish with one broker."
        yield Verdict("error", "acks", "producer", message, "Build it with acks='all'.")
    if getattr(client, "_txn_manager", None) is None:
        message = "This producer is not idempotent: a retry stores a record twice, or out of order."
        yield Verdict("error", "idempotence", "producer", message, "Build it with enable_idempotence=True.")


def check_consumer(client: Any) -> Iterator[Verdict]:
    """What is wrong with a built consumer of either library."""
    config = getattr(client, "config", None)

    def said(name: str) -> Any:
        return config.get(name, _GONE) if isinstance(config, dict) else getattr(client, f"_{name}", _GONE)

    isolation = said("isolation_level")
    if isolation != "read_committed":
        message = f"This consumer reads with isolation {isolation}: records of aborted transactions count as events."
        yield Verdict("error", "isolation", "consumer", message, "Build it with isolation_level='read_committed'.")
    reset = said("auto_offset_reset")
    if reset not in ("earliest", "none"):
        message = (
            f"This inbox begins at {reset}: what arrives before its first poll, or after its place expired, is lost."
        )
        yield Verdict("error", "offset-reset", "consumer", message, "Build it with auto_offset_reset='earliest'.")
    if said("enable_auto_commit") is not False:
        message = "This consumer commits by a timer: a record counts as done before its effect."
        yield Verdict("error", "auto-commit", "consumer", message, "Build it with enable_auto_commit=False.")
    if isinstance(config, dict) and config.get("allow_auto_create_topics", _GONE) is not False:
        message = "This consumer lets the broker make a topic of a misspelt name."
        yield Verdict("error", "auto-create", "consumer", message, "Build it with allow_auto_create_topics=False.")
    if said("check_crcs") is not True:
        message = "This consumer takes batches whose checksum does not fit."
        yield Verdict("error", "checksum", "consumer", message, "Build it with check_crcs=True.")


def refuse_weak_cluster(bootstrap: str, topics: Sequence[str], *, session_timeout_ms: int) -> None:
    """Refuse to read an inbox from topics or brokers that lose records, or that take no such session.

    Warnings pass; `agencybus doctor` shows them. Who may not describe the brokers is told so in the log, and passes.

    Args:
        bootstrap: ``host:port``, several joined by commas.
        topics: those to be read; one that is missing is left to the consumer to refuse.
        session_timeout_ms: of the member.

    Raises:
        Refused: names the first finding and its remedy. Unreachable.
    """
    try:
        facts = kafka_facts.read(bootstrap)
        admin = KafkaAdmin(bootstrap)
        try:
            found = admin.topics()
        finally:
            admin.close()
    except Refused as error:
        _log.warning("durability was not checked: %s", error.message)
        return
    wanted = {name: found[name] for name in topics if name in found}
    verdicts = selfcheck.check_cluster(facts, wanted) + selfcheck.check_session(session_timeout_ms, facts)
    selfcheck.refuse(verdicts)
