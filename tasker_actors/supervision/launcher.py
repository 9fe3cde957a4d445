"""Makes one incarnation of a worker: its row, its memory block, its process, its link."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tasker_actors.actors import ActorSystem, ProcessLink
from tasker_actors.native.bridge import WantedHandler
from tasker_actors.postgres.session import Pool, session
from tasker_actors.postgres.workers import WorkerPlace, register_worker, worker_started
from tasker_actors.settings import Settings, settings_to_json
from tasker_actors.stats.block import create_block
from tasker_actors.stats.reader import BlockReader
from tasker_actors.steps.capacity import begun_places
from tasker_actors.supervision.boot import LIFECYCLE, WorkerBoot, link_limits, mailbox_name, process_name
from tasker_actors.supervision.inbox import Forwarder, Inbox
from tasker_actors.supervision.process import start_worker
from tasker_actors.supervision.slots import Incarnation, Slot
from tasker_actors.supervision.spares import Spares


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """Link → main thread: the other end is gone, so the process is dead or about to be, and has said all it had."""


@dataclass(frozen=True, slots=True)
class CrewIdentity:
    """What every worker of this supervisor is told, and what its row says of where it runs."""

    supervisor_id: str
    host: str
    process_space: str
    database_url: str
    namespaces: tuple[str, ...]
    handler_modules: tuple[str, ...]
    native_handlers: tuple[WantedHandler, ...]
    template_ids: tuple[int, ...]
    block_directory: Path


class Launcher:
    """Used by the supervisor's main thread; what it returns as a job is for the registrar's."""

    def __init__(
        self,
        settings: Settings,
        identity: CrewIdentity,
        *,
        spares: Spares,
        system: ActorSystem,
        inbox: Inbox,
        pool: Pool,
    ) -> None:
        self._settings = settings
        self._identity = identity
        self._spares = spares
        self._system = system
        self._inbox = inbox
        self._pool = pool

    def registration(self, slot: Slot, incarnation: Incarnation) -> Callable[[], int]:
        """Return the job that makes an incarnation's row and returns the worker's id."""
        identity = self._identity
        is_replacement = incarnation.replaces is not None
        place = WorkerPlace(
            supervisor_id=identity.supervisor_id,
            host=identity.host,
            process_space=identity.process_space,
            slot=slot.number,
            incarnation=incarnation.number,
            restarts=slot.restarts + is_replacement,
            last_reason=incarnation.replaces_for or slot.last_reason,
        )
        return partial(self._register, place)

    def launch(self, incarnation: Incarnation) -> Callable[[], None]:
        """Start the process of a registered incarnation; returns the job that notes it.

        Messages from it reach the inbox together with the incarnation; those to it go over its own link (`tell`), until
        it takes over what is sent to its slot.
        """
        identity = self._identity
        path = create_block(
            identity.block_directory,
            slot=incarnation.slot,
            incarnation=incarnation.number,
            executors=self._settings.worker.concurrency,
            places=begun_places(self._settings.worker.concurrency, self._settings.worker.prefetch),
            size_bytes=self._settings.telemetry.max_counter_bytes,
        )
        reader = BlockReader(path)
        own_inbox = self._system.start(
            mailbox_name(incarnation.slot, incarnation.number), partial(Forwarder, self._inbox, incarnation)
        )
        started = start_worker(
            self._spares.take(),
            WorkerBoot(
                slot=incarnation.slot,
                incarnation=incarnation.number,
                worker_id=incarnation.worker_id,
                settings=settings_to_json(self._settings),
                block_path=str(path),
                database_url=identity.database_url,
                namespaces=identity.namespaces,
                handler_modules=identity.handler_modules,
                native_handlers=identity.native_handlers,
                template_ids=identity.template_ids,
            ),
        )
        # Told on the same way as the worker's own messages, so that it comes after the last of them.
        link = ProcessLink(
            started.link,
            limits=link_limits(self._settings.links),
            on_close=lambda _reason: own_inbox.tell(ProcessEnded()),
        )
        incarnation.begin(started, link, reader, datetime.now(UTC))
        self._system.open_link(process_name(incarnation.slot), link)
        return partial(self._note, incarnation.worker_id, started.process.pid, started.process_start)

    def take_over(self, incarnation: Incarnation) -> None:
        """Let messages to the slot's worker reach this incarnation from now on."""
        if incarnation.link is not None:
            self._system.route(process_name(incarnation.slot), incarnation.link)

    def tell(self, incarnation: Incarnation, message: object) -> None:
        """Send a message to an incarnation, whether or not it is the one that its slot's name stands for."""
        if incarnation.link is not None:
            self._system.address(f"{process_name(incarnation.slot)}/{LIFECYCLE}", over=incarnation.link).tell(message)

    def forget(self, incarnation: Incarnation) -> None:
        """Let go of the link and the mailbox of an incarnation whose process is gone."""
        if incarnation.link is not None:
            incarnation.link.close(time.monotonic())
        self._system.forget(mailbox_name(incarnation.slot, incarnation.number))

    def _register(self, place: WorkerPlace) -> int:
        with session(self._pool) as connection:
            return register_worker(connection, place)

    def _note(self, worker_id: int, pid: int, process_start: float) -> None:
        with session(self._pool) as connection:
            worker_started(connection, worker_id, pid=pid, process_start=process_start)
