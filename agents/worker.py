"""The worker process: the one place where settings become a running host.

Called by `agents.cli_worker`. The traps it avoids: partition counts that differ between a process's topics (cases would
meet on two workers, F26), a missing topic that is only a warning (F27), and a process that lingers half alive after a
failure: whatever goes wrong ends it, and the supervisor starts a clean one.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agents import compile as compiler
from agents import instance
from agents.extract import extract
from agents.graph import Graph
from agents.health import Limits, Pulse
from agents.health_server import HealthServer
from agents.intake import Intake
from agents.kafka_case_log import KafkaCaseLog
from agents.membership import HostSettings
from agents.outputs import Outputs
from agents.runner import Runner
from agents.watchdog import TICK_S, Watchdog
from bus import selfcheck
from bus.clock import SystemClock
from bus.errors import Refused, UsageError
from bus.event_loop import new_event_loop
from bus.middleware.parking import parked_topic
from bus.selfcheck import BrokerFacts
from bus.settings import Settings
from bus.transport import kafka_facts
from bus.transport.kafka_admin import KafkaAdmin
from bus.transport.kafka_producer import KafkaProducer
from bus.transport.kafka_reader import KafkaReader
from bus.transport.schema_topic import SchemaTopic
from schemas import catalogue as catalogues
from schemas.codec import Codec

PROCESSES = Path(__file__).parent / "processes"
_HEARTBEATS = 6  # heartbeats in one session timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a worker is to run.

    Args:
        files: process files; the first is the version new cases open on, others keep older cases running.
        group: the consumer group; default ``workflow.<process>``.
        host: ``faust`` or ``aiokafka``.
        prefix: take only cases whose id begins with it.
        instance: static member name.
        ready_file: written (case partitions owned) each time the worker is ready.
        health: port of ``/live``, ``/ready`` and ``/metrics`` on loopback; 0 takes a free one, None serves none.
        supervisor: pid of the process that starts this one again; None when there is none.
    """

    files: Sequence[Path]
    group: str | None = None
    host: str = "faust"
    prefix: str = ""
    instance: str | None = None
    ready_file: Path | None = None
    health: int | None = None
    supervisor: int | None = None


def process_file(name: str) -> Path:
    """The file of a process given by path, or by the name of one that ships.

    Raises:
        UsageError: when there is neither.
    """
    shipped = PROCESSES / f"{name}.yaml"
    try:
        if Path(name).is_file():
            return Path(name)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}.", remedy="Check its rights and its folder's.") from None
    if shipped.is_file():
        return shipped
    known = ", ".join(sorted(path.stem for path in PROCESSES.glob("*.yaml")))
    raise UsageError(f"There is no process {name}.", remedy=f"Give a YAML file, or one of: {known}.")


def graphs_of(job: Job, catalogue: catalogues.Catalogue) -> dict[str, Graph]:
    """The processes of a job by content hash, the newest first. Raises CheckFailed."""
    return {graph.hash: graph for graph in (compiler.compile_file(path, catalogue) for path in job.files)}


def run(job: Job, settings: Settings) -> None:
    """Run a worker until SIGTERM or Ctrl-C.

    What the client libraries note of every ordinary rebalance is kept from the operator's log; their errors are not.

    Raises:
        CheckFailed: a process file is wrong. Refused, Unreachable, Fenced: see their messages.
    """
    for library in ("aiokafka", "kafka"):
        logging.getLogger(library).setLevel(logging.ERROR)
    watch = _Watch(job, settings)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(_run(job, settings, watch))
    watch.close()


class _Watch:
    """What looks at a worker from threads of its own: the watchdog, which also takes SIGTERM, and the health pages."""

    def __init__(self, job: Job, settings: Settings) -> None:
        self.limits = Limits(drain=settings.drain_s, recovery=settings.recovery_s)
        self.pulse = Pulse(time.monotonic, say=_say)
        self._stop: Callable[[], None] | None = None
        self._runner: Runner | None = None
        self._server = None
        if job.health is not None:
            self._server = HealthServer(self.pulse, self.limits, port=job.health)
            self._server.start()
            _say(f"health on http://127.0.0.1:{self._server.port}: /live /ready /metrics")
        self._watchdog = Watchdog(self.pulse, self.limits, stop=self._stopped)
        self._watchdog.start()

    async def beat(self) -> None:
        """Turn with the event loop for as long as it runs."""
        self._watchdog.watch(asyncio.get_running_loop())
        while True:
            parked, letters = (0, 0) if self._runner is None else self._runner.standing
            self.pulse.beat(parked=parked, letters=letters)
            await asyncio.sleep(TICK_S)

    def begins(self, runner: Runner, stop: Callable[[], None]) -> None:
        """From now on there is a membership to leave: `stop` is called on this loop when a signal comes."""
        loop = asyncio.get_running_loop()
        self._runner = runner

        def pass_on() -> None:
            with suppress(RuntimeError):  # the loop has closed: the worker is ending already
                loop.call_soon_threadsafe(stop)

        self._stop = pass_on

    def close(self) -> None:
        """The worker has ended well."""
        self._watchdog.close()
        if self._server is not None:
            self._server.close()

    def _stopped(self) -> None:
        """Called from the watchdog's thread."""
        if self._stop is None:
            os._exit(0)  # nothing has been taken over yet, and a broker that is away must not be waited for
        self._stop()


def calm_collector() -> None:
    """Look for reference cycles seldom, and never in what start-up loaded.

    A unit makes tens of thousands of objects, nearly all freed by their count. To look every 20,000 costs 8 % of the
    CPU of a worker of 10,000 cases, every 200,000 1 %; one look takes up to 0.15 s either way (agents/DESIGN.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 10, 10)


async def _run(job: Job, settings: Settings, watch: _Watch) -> None:
    beating = asyncio.create_task(watch.beat())
    catalogue = catalogues.standard()
    graphs = graphs_of(job, catalogue)
    graph = next(iter(graphs.values()))
    group = job.group or f"workflow.{graph.process}"
    codec, partitions = await asyncio.to_thread(_prepare, catalogue, graphs, group, settings)
    joined = _membership(job, group, graph, settings)
    if joined.instance is not None:
        await asyncio.to_thread(_keep_name, joined, joined.instance)
    log = KafkaCaseLog(settings.bootstrap, group, progress=watch.pulse.loading)
    producer = KafkaProducer(settings.bootstrap, client_id=f"{group}-outputs")
    await log.start()
    await producer.start()
    extracts = {topic: extract(list(graphs.values()), topic, catalogue) for topic in graph.listens}
    clock = SystemClock()
    runner = Runner(
        graphs,
        intake=Intake(
            graph, catalogue=catalogue, codec=codec, extracts=extracts, partitions=partitions, prefix=job.prefix
        ),
        log=log,
        outputs=Outputs(
            producer,
            catalogue=catalogue,
            codec=codec,
            group=group,
            process=graph.process,
            partitions=partitions,
            clock=clock,
        ),
        clock=clock,
        owner=job.instance or socket.gethostname(),
    )
    host = _host(job.host)(joined, runner, ready=_announce(job.ready_file), pulse=watch.pulse)
    calm_collector()
    watch.begins(runner, host.stop)
    await host.run()
    await producer.stop()
    await log.stop()
    beating.cancel()


def _host(name: str) -> type:
    if name == "faust":
        from agents.faust_host import FaustHost

        return FaustHost
    from agents.aiokafka_host import AiokafkaHost

    return AiokafkaHost


def _membership(job: Job, group: str, graph: Graph, settings: Settings) -> HostSettings:
    return HostSettings(
        bootstrap=settings.bootstrap,
        group=group,
        topics=graph.listens | {parked_topic(group)},
        instance=job.instance,
        session_timeout_ms=settings.session_timeout_ms,
        heartbeat_ms=settings.session_timeout_ms // _HEARTBEATS,
        recovery_s=settings.recovery_s,
        max_poll_interval_ms=int(settings.recovery_s * 1000) + 60_000,
        client_id=instance.client_id(group, supervisor=job.supervisor),
    )


def _keep_name(joined: HostSettings, name: str) -> None:
    """Wait until no other process has the static name. Raises UsageError, Unreachable."""
    instance.keep_name(
        lambda: kafka_facts.members(joined.bootstrap, joined.group),
        instance=name,
        mine=joined.client_id,
        session_s=joined.session_timeout_ms / 1000,
        say=_say,
    )


def _prepare(
    catalogue: catalogues.Catalogue, graphs: Mapping[str, Graph], group: str, settings: Settings
) -> tuple[Codec, int]:
    """Check the brokers and topics and read the known schemas. Raises Refused, Unreachable."""
    facts = _facts(settings.bootstrap)
    admin = KafkaAdmin(settings.bootstrap)
    try:
        topics = admin.topics()
    finally:
        admin.close()
    inputs = sorted(frozenset().union(*(graph.listens for graph in graphs.values())))
    emitted = sorted(frozenset().union(*(graph.emits for graph in graphs.values())))
    found = selfcheck.check_group(
        group,
        inputs=inputs,
        outputs=emitted,
        topics=topics,
        defaults=None if facts is None else facts.config,
        by_append_time=any(graph.time == "append" for graph in graphs.values()),
    )
    if facts is not None:
        needed = [
            topic for name, topic in topics.items() if name in {*inputs, *emitted} or name.startswith(f"{group}.")
        ]
        found += selfcheck.check_cluster(facts, {topic.name: topic for topic in needed})
        found += selfcheck.check_session(settings.session_timeout_ms, facts)
    selfcheck.refuse(found)
    partitions = topics[f"{group}.cases"].partitions
    reader = KafkaReader(settings.bootstrap)
    try:
        return Codec(catalogue, SchemaTopic(reader).read_all()), partitions
    finally:
        reader.close()


def _say(what: str) -> None:
    sys.stderr.write(f"agencybus worker: {what}\n")
    sys.stderr.flush()


def _facts(bootstrap: str) -> BrokerFacts | None:
    """What the brokers say of themselves; None, and said, when they do not tell this worker. Raises Unreachable."""
    try:
        return kafka_facts.read(bootstrap)
    except Refused as error:
        _say(f"the brokers' settings were not checked: {error.message}")
        return None


def _announce(ready_file: Path | None) -> Callable[[Sequence[int]], None]:
    def ready(numbers: Sequence[int]) -> None:
        _say(f"ready, case partitions {', '.join(map(str, numbers))}")
        if ready_file is not None:
            with suppress(OSError):  # a missing folder must not stop the work
                ready_file.write_text(" ".join(map(str, numbers)))

    return ready
