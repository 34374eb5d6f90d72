"""`agencybus doctor`: is everything in place, and is durability as strong as it should be.

Registered by `bus.cli.main`. The trap it avoids: a report that stops at the first fault; every check that can run runs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bus.cli import context

if TYPE_CHECKING:  # clients are imported where used
    from bus.ports import TopicState
    from bus.selfcheck import Verdict
    from bus.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command of this file to `app`."""
    app.command("doctor")(doctor)


def doctor(
    ctx: typer.Context,
    file: Annotated[Path | None, typer.Option("--topology", help="Topology file; default the one that ships.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Check this machine, the broker, its topics and the settings. Exits 0 well, 3 findings, 4 unreachable.

    Warnings alone (a single broker, for example) exit 0.
    """
    from bus import local_checks
    from bus.errors import Refused, Unreachable
    from bus.selfcheck import Verdict

    settings = context.settings(ctx)
    found = local_checks.check(settings.data_dir)
    facts: dict[str, Any] = {"bootstrap": settings.bootstrap}
    unreachable: Unreachable | None = None
    try:
        told, more = _cluster(settings, file)
        facts |= told
        found += more
    except Unreachable as error:
        unreachable = error
    except Refused as error:  # no right to ask, for example: the rest of the report still stands
        remedy = error.remedy or "Ask with the rights to describe the cluster, its topics and groups."
        found.append(Verdict("error", "cluster", settings.bootstrap, error.message, remedy))
    if json:
        verdicts = [verdict.as_json() for verdict in found]
        context.print_json({**facts, "reachable": unreachable is None, "findings": verdicts})
    else:
        context.show(context.table("", ["fact", "value"], facts.items()))
        rows = [[verdict.level, verdict.subject, verdict.message, verdict.remedy] for verdict in found]
        if rows:
            context.show(context.table("", ["level", "about", "finding", "what to do"], rows))
        elif unreachable is None:
            context.show("All is well.")
    if unreachable is not None:
        raise unreachable
    raise typer.Exit(3 if any(verdict.level == "error" for verdict in found) else 0)


def _cluster(settings: Settings, file: Path | None) -> tuple[dict[str, Any], list[Verdict]]:
    """What the cluster is, and what is wrong with it. Raises Unreachable; CheckFailed for the topology file."""
    from bus import selfcheck, topology
    from bus.core import transport_of
    from bus.message import Partition
    from bus.provision import Provisioner
    from bus.selfcheck import Verdict
    from bus.transport import kafka_facts
    from schemas.catalogue import standard

    wanted = topology.load(file or topology.STANDARD, standard())
    facts = kafka_facts.read(settings.bootstrap)
    with Provisioner(transport_of(settings), standard(), brokers=len(facts.brokers)) as cluster:
        actual = cluster.admin.topics()
        changes = cluster.plan(wanted).actions
    found = selfcheck.check_cluster(facts, {name: actual[name] for name in wanted.wanted if name in actual})
    found += selfcheck.check_session(settings.session_timeout_ms, facts)
    for group, inputs in wanted.groups.items():
        by_append = all(wanted.wanted[name].config["message.timestamp.type"] == "LogAppendTime" for name in inputs)
        found += selfcheck.check_group(
            group, inputs=inputs, topics=actual, defaults=facts.config, by_append_time=by_append
        )
    places = [Partition(t.name, n) for t in actual.values() if t.name in wanted.wanted for n in range(t.partitions)]
    found += selfcheck.check_clock(kafka_facts.newest(settings.bootstrap, places), time.time_ns() // 1_000_000)
    if changes:
        message = f"{len(changes)} change(s) stand between the topology file and the cluster."
        found.append(Verdict("error", "topology", "topics", message, "See `agencybus topics plan`."))
    found += _standing(settings, actual)
    told = {
        "cluster": facts.cluster_id,
        "kafka": facts.version,
        "brokers": len(facts.brokers),
        "topics": len(actual),
    }
    return told, sorted(found, key=lambda v: (v.level, v.rule, v.subject))


def _standing(settings: Settings, topics: Mapping[str, TopicState]) -> list[Verdict]:
    """What waits for a person: open dead letters and parked keys. Raises Unreachable."""
    from bus.cli.progress import ProgressLine
    from bus.core import transport_of
    from bus.letter_desk import LetterDesk
    from bus.parked_desk import ParkedDesk
    from bus.standing import look
    from bus.transport.schema_topic import SchemaTopic
    from schemas.catalogue import standard
    from schemas.codec import Codec

    reader, catalogue = transport_of(settings).reader(), standard()
    try:
        writers = SchemaTopic(reader).read_all()
        codec = Codec(catalogue, writers=writers)
        with ProgressLine() as line:
            letters = LetterDesk(reader, topics, catalogue=catalogue, codec=codec, writers=writers, progress=line)
            return look(letters, ParkedDesk(reader, topics, progress=line))
    finally:
        reader.close()
