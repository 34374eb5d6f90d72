"""The workflow host on Faust: a runner inside the hardened app of `agents.faust_app`.

Started by `agents.worker`. Faust gives membership, threads, flow control and shutdown. The traps it avoids: recovery
runs in `on_rebalance_complete`, where nothing is delivered yet (F66); an exception in a unit ends the process and the
unit never counts as done (F4, F6, F7); faust's thread is stopped whatever went wrong.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import errors as kafka_errors

from agents.faust_app import UNIT, Unit, build_app
from agents.health import RELEASE, Pulse
from agents.membership import HostSettings, floors
from agents.phases import take_over, take_unit
from agents.runner import Runner
from bus.errors import Fenced, Unreachable
from bus.message import Partition

LEAVE_S = 5.0


class FaustHost:
    """Runs a runner over its topics inside Faust until stopped.

    Args:
        settings: group, topics, timeouts. runner: what handles the units.
        ready: called each time the assignment has been taken over, with the case partitions owned.
        pulse: where it notes what it does; None for one that nobody reads.
    """

    name = "faust"

    def __init__(
        self,
        settings: HostSettings,
        runner: Runner,
        *,
        ready: Callable[[Sequence[int]], None],
        pulse: Pulse | None = None,
    ) -> None:
        self._settings = settings
        self.runner = runner
        self.pulse = pulse or Pulse(time.monotonic)
        self.seeks: dict[Partition, int] = {}
        self._ready = ready
        self._turn = 0  # counts revocations: the group's generation moves on only after one is done
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self.app = build_app(settings)
        self.app.host = self
        source = self.app.topic(
            *sorted(settings.topics), key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
        )
        self.app.agent(source, name=f"{settings.group}-units")(self._units)
        # faust keeps signal handlers by weak reference: bound methods of this object stay alive with it
        self.app.on_partitions_revoked.connect(self._revoked)
        self.app.on_rebalance_complete.connect(self._complete)

    @property
    def failed(self) -> bool:
        """Whether a unit or a takeover has failed: then nothing is waited for any more."""
        return self._failure is not None

    def stop(self) -> None:
        """Finish the unit under way, commit, leave."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until `stop`. Any exception means that the process must end.

        Raises:
            Unreachable, Hole, Fenced, Damaged, Refused; RuntimeError when faust itself crashed.
        """
        logging.getLogger("faust").setLevel(logging.WARNING)
        try:
            await self._connect()
            stopping = asyncio.create_task(self._stopping.wait())
            crashed = asyncio.create_task(self.app.wait_until_stopped())
            await asyncio.wait({stopping, crashed}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            crashed.cancel()
            if not self.failed and not self.app.crashed:
                self.app.consumer.stop_flow()
                await self.app.consumer.wait_empty()
            if self._failure is not None:
                raise self._failure
            if self.app.crashed:
                raise RuntimeError(f"faust crashed: {self.app.crash_reason!r}")
            await self.runner.finish()
            await self.app.consumer.force_commit()
        finally:
            await self._leave()

    async def _connect(self) -> None:
        try:
            await self.app.start()
        except kafka_errors.KafkaError as error:
            broker = self.app.conf.broker[0]
            raise Unreachable(f"no broker answers at {broker}: {error}.", remedy="Run `agencybus up`.") from error

    async def _leave(self) -> None:
        """Stop faust's thread and leave the group, so that others take over at once."""
        for name in (
            "faust",
            "mode",
            __name__,
        ):  # they print tracebacks of what is on its way to the user as a sentence
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # What ends the process is more telling than what its end met. A call into faust's thread that was cut off
        # comes back as CancelledError, although nobody cancels this task.
        with suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(LEAVE_S):
                await self.app.stop()

    async def _units(self, stream: Any) -> None:
        try:
            async for event in stream.events():
                await self._unit(event.message.headers[UNIT])
        except BaseException as error:
            self._fail(error)  # an agent that ends by itself ends the host: nobody else would take units
            raise

    async def _unit(self, unit: Unit) -> None:
        try:
            await take_unit(self.runner, unit.take(), self.pulse)
        except Exception as error:  # noqa: BLE001  # F4: whatever it is, the unit must not count as done
            self._fail(error)
            await asyncio.Event().wait()  # never ack: the process ends

    async def _complete(self, *_args: object, **_kwargs: object) -> None:
        """Faust awaits this before it seeks and resumes: the one place to recover (F66)."""
        thread = self.app.consumer._thread  # noqa: SLF001  # its queue is the way into the consumer's loop
        consumer = thread._ensure_consumer()  # noqa: SLF001  # as above
        generation = consumer._coordinator.generation  # noqa: SLF001  # aiokafka shows it nowhere else
        turn = self._turn
        numbers = sorted({tp.partition for tp in self.app.consumer.assignment()})

        def still_mine() -> bool:
            return bool(turn == self._turn and consumer._coordinator.generation == generation)  # noqa: SLF001  # as above

        self.seeks = {}
        try:
            self.seeks = await take_over(
                self.runner,
                numbers,
                self.pulse,
                floor=lambda inputs: thread.call_thread(floors, consumer, inputs),
                still_mine=still_mine,
                limit_s=self._settings.recovery_s,
            )
        except Exception as error:  # noqa: BLE001  # an owner that cannot recover must not work
            if not isinstance(error, Fenced) or still_mine():
                self._fail(error)
            return  # else the group moved on meanwhile: nothing is fetched until its next assignment is taken over
        if self.runner.numbers:
            self._ready(self.runner.numbers)

    async def _revoked(self, *_args: object, **_kwargs: object) -> None:
        """Called when the units under way are done and before the group moves on."""
        self._turn += 1
        with self.pulse.busy(RELEASE):
            try:
                await self.runner.finish()
                await self.app.consumer.force_commit()
                await self.runner.released()
            except Exception as error:  # noqa: BLE001  # the next owner reads it all from the case log
                self._fail(error)
        self.pulse.lost()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
        self._stopping.set()
