"""Wires one worker: who sends what to whom. Read `messages.py` first, then this.

StepSource ─ExecuteSteps─▶StepExecutor (many) ──── ─StepFinished─▶ EventRouter ─CommitItems─▶ DurablePublisher
     ▲                          │ ExecutorFree                          │  ▲                          │
     ├──────────────────────────┘                 RouteFast, callbacks │  └──────StepsCommitted──────┤
     └────────────────────────────────────────StepsCommitted───────────┼─────────────────────────────┘
                                                                        ▼
                             native subscribers ◀─ InProcessEventBus, PublisherHooks
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tasker_actors.actors import ActorSystem, LocalAddress
from tasker_actors.actors.call_guard import CallGuard
from tasker_actors.delivery.announcements import Announcements
from tasker_actors.delivery.backlog import Backlog
from tasker_actors.delivery.batch import BatchLimits
from tasker_actors.delivery.buffer import Drops
from tasker_actors.delivery.bus import InProcessEventBus
from tasker_actors.delivery.committer import Committer
from tasker_actors.delivery.durable_publisher import CommitState, DurablePublisher
from tasker_actors.delivery.event_log import EventLog
from tasker_actors.delivery.ffi_channel import FfiChannel
from tasker_actors.delivery.patterns import PatternIndex
from tasker_actors.delivery.publisher_hooks import HookCall, HookTimeoutError, PublisherHooks
from tasker_actors.delivery.router import EventRouter
from tasker_actors.delivery.subscription import Subscription
from tasker_actors.events.subscriber import SubscriberSpec
from tasker_actors.messages import WorkAvailable
from tasker_actors.native.bridge import NativeSubscriber
from tasker_actors.settings import Settings
from tasker_actors.stats.block import BlockWriter
from tasker_actors.stats.layout import FFI_DROPS, HANDLER_ERRORS, SUBSCRIBER_DROPS
from tasker_actors.stats.recorder import WorkerRecorder
from tasker_actors.steps.capacity import Capacity
from tasker_actors.steps.claimer import Claimer
from tasker_actors.steps.conclude import SizeLimits
from tasker_actors.steps.executor import StepExecutor
from tasker_actors.steps.failures import StepTimeoutError
from tasker_actors.steps.handler_loop import HandlerLoop
from tasker_actors.steps.lease import LeasedStep
from tasker_actors.steps.ledger import Ledger, LedgerItem
from tasker_actors.steps.outflow import Outflow
from tasker_actors.steps.plans import StepPlans
from tasker_actors.steps.source import SourceClock, StepSource
from tasker_actors.telemetry.logging import LineSampler, get_logger
from tasker_actors.telemetry.metrics import EVENTS_DROPPED

if TYPE_CHECKING:
    from tasker_actors.delivery.tracer import Tracing

ROUTER = "event_router"
SOURCE = "step_source"
PUBLISHER = "durable_publisher"
BUS = "event_bus"
HOOKS = "publisher_hooks"
EXECUTOR = "step_executor"

ACTORS = (SOURCE, EXECUTOR, ROUTER, PUBLISHER, BUS, HOOKS)
"""Every kind of actor of the flow, as metrics name it."""


def executor_name(index: int) -> str:
    """Name the executor with this number."""
    return f"{EXECUTOR}-{index}"


def actor_kind(name: str) -> str:
    """Name an actor as metrics do, in which all executors of all workers are one."""
    return EXECUTOR if name.startswith(f"{EXECUTOR}-") else name


@dataclass(slots=True)
class Parts:
    """What the actors of one worker share, and what outlives each of them."""

    hooks_backlog: Backlog
    publications: Backlog
    ledger: Ledger
    ready: deque[LeasedStep] = field(default_factory=deque)
    clock: SourceClock = field(default_factory=SourceClock)
    commits: CommitState = field(default_factory=CommitState)
    guards: list[CallGuard[LedgerItem]] = field(default_factory=list)
    hooks_guard: CallGuard[HookCall] = field(default_factory=lambda: CallGuard(HookTimeoutError))
    subscriptions: list[Subscription] = field(default_factory=list)
    loop: HandlerLoop = field(default_factory=lambda: HandlerLoop(get_logger("tasker_actors.handler")))


class Pipeline:
    """The running flow of one worker."""

    def __init__(
        self,
        system: ActorSystem,
        settings: Settings,
        *,
        worker_id: int,
        plans: StepPlans,
        block: BlockWriter,
        recorder: WorkerRecorder,
        claimer: Claimer,
        committer: Committer,
        subscribers: Sequence[SubscriberSpec],
        native_subscribers: Sequence[NativeSubscriber],
        announce: Announcements,
        tracing: Tracing | None,
    ) -> None:
        bus, events = settings.event_bus, settings.events
        outflow = Outflow(bus.max_transit_bytes, lambda: self.source.tell(WorkAvailable()))
        self.parts = Parts(
            hooks_backlog=Backlog(bus.hooks_buffer_size, bus.hooks_buffer_bytes),
            publications=Backlog(events.max_waiting_publications, events.max_waiting_publication_bytes),
            ledger=Ledger(block, outflow),
        )
        self._system = system
        self._settings = settings
        self._worker_id = worker_id
        self._plans = plans
        self._block = block
        self._recorder = recorder
        self._claimer = claimer
        self._committer = committer
        self._subscribers = subscribers
        self._announce = announce
        self._tracing = tracing
        self._scope = None if tracing is None else tracing.scope
        self._patterns = [(key, pattern) for key, spec in enumerate(subscribers) for pattern in spec.patterns]
        self._index: PatternIndex[int] = PatternIndex(self._patterns)
        self._capacity = Capacity(settings.worker.concurrency, settings.worker.prefetch)
        self.channel = self._ffi_channel(native_subscribers)
        self.size_limits = SizeLimits(
            max_result_bytes=settings.worker.max_result_bytes, max_payload_bytes=events.max_payload_bytes
        )

    @property
    def source(self) -> LocalAddress:
        """The actor that must hear of new work."""
        return self._local(SOURCE)

    @property
    def router(self) -> LocalAddress:
        """The actor that takes finished steps."""
        return self._local(ROUTER)

    def start(self) -> None:
        """Start downstream first, so that nobody ever sends to an actor that is not there."""
        self.parts.loop.start()
        self._start_bus()
        self._system.start(HOOKS, self._hooks)
        self._system.start(PUBLISHER, self._publisher)
        self._system.start(ROUTER, self._router)
        self.parts.guards.extend(CallGuard(StepTimeoutError) for _ in range(self._settings.worker.concurrency))
        for index in range(self._settings.worker.concurrency):
            self._system.start(executor_name(index), partial(self._executor, index))
        self._system.start(SOURCE, self._source)
        self.source.tell(WorkAvailable())

    def stop(self, deadline: float, deliver_until: float) -> tuple[str, ...]:
        """Stop upstream first, so that everything sent is still handled; names the actors that did not stop in time.

        The publisher stops before the router, which must still hear of the last commit; executors come last, because
        one of them may be stuck in a handler and all are idle otherwise. Subscribers get until `deliver_until` to take
        what is in their buffers.
        """
        left = self._system.stop_all([SOURCE, PUBLISHER, ROUTER, HOOKS, BUS], deadline)
        for subscription in self.parts.subscriptions:
            subscription.stop()
        self.channel.stop()
        for subscription in self.parts.subscriptions:
            subscription.join(deliver_until)
        self.channel.join(deliver_until)
        self.parts.loop.stop(deadline)
        return left

    def _local(self, name: str) -> LocalAddress:
        address = self._system.address(name)
        assert isinstance(address, LocalAddress)  # noqa: S101 - a name without a process is one of this process
        return address

    def _start_bus(self) -> None:
        logger = get_logger("tasker_actors.bus")
        logger.info("Creating in-process event bus for fast domain events", subscribers=len(self._subscribers))
        bus = self._settings.event_bus
        self.parts.subscriptions.extend(
            Subscription(
                spec,
                buffer_size=bus.buffer_size,
                buffer_bytes=bus.buffer_bytes,
                timeout_ms=bus.dispatch_timeout_ms,
                max_stuck=bus.max_stuck_deliveries,
                errors=self._block.shared_bus_counter(HANDLER_ERRORS),
                drops=self._drops(SUBSCRIBER_DROPS, "subscriber"),
                logger=logger,
                scope=self._scope,
            )
            for spec in self._subscribers
        )
        self._recorder.subscriptions(len(self._patterns), len(self._subscribers), self.channel.subscriber_count)
        for subscription in self.parts.subscriptions:
            subscription.start()
        self.channel.start()
        self._system.start(
            BUS,
            lambda: InProcessEventBus(
                subscriptions=self.parts.subscriptions,
                index=self._index,
                channel=self.channel,
                outflow=self.parts.ledger.outflow,
                recorder=self._recorder,
            ),
        )

    def _subscribers_of(self, event_name: str) -> int:
        return len(self._index.keys_for(event_name)) + self.channel.wanted_by(event_name)

    def _ffi_channel(self, subscribers: Sequence[NativeSubscriber]) -> FfiChannel:
        bus = self._settings.event_bus
        return FfiChannel(
            subscribers,
            buffer_size=bus.ffi_buffer_size,
            buffer_bytes=bus.ffi_buffer_bytes,
            timeout_ms=bus.dispatch_timeout_ms,
            errors=self._block.shared_bus_counter(HANDLER_ERRORS),
            drops=self._drops(FFI_DROPS, "ffi"),
            logger=get_logger("tasker_actors.bus"),
        )

    def _drops(self, cell: int, channel: str) -> Drops:
        """Return what counts deliveries that a full buffer dropped."""
        drops = self._block.shared_bus_counter(cell)
        dropped = self._block.counter(EVENTS_DROPPED, (channel,))

        def count(amount: int, reason: str) -> None:
            drops.add(amount)
            dropped.add(amount)
            self._recorder.dropped(channel, amount, reason)

        return count

    def _hooks(self) -> PublisherHooks:
        return PublisherHooks(
            guard=self.parts.hooks_guard,
            loop=self.parts.loop,
            backlog=self.parts.hooks_backlog,
            timeout_ms=self._settings.event_bus.dispatch_timeout_ms,
            logger=get_logger("tasker_actors.hooks"),
        )

    def _publisher(self) -> DurablePublisher:
        return DurablePublisher(
            worker_id=self._worker_id,
            ledger=self.parts.ledger,
            capacity=self._capacity,
            state=self.parts.commits,
            committer=self._committer,
            lease=self._plans.lease,
            listeners=(self.router, self.source),
            announce=self._announce,
            logger=get_logger("tasker_actors.commit"),
            limits=BatchLimits(
                max_count=self._settings.commit.max_batch,
                max_bytes=self._settings.commit.max_batch_bytes,
                max_continued_bytes=self._settings.worker.max_claim_bytes,
            ),
            lease_ms=self._settings.worker.lease_ms,
        )

    def _router(self) -> EventRouter:
        get_logger("tasker_actors.router").info("Creating event router for dual-path delivery")
        return EventRouter(
            ledger=self.parts.ledger,
            publisher=self._local(PUBLISHER),
            bus=self._local(BUS),
            hooks=self._local(HOOKS),
            hooks_backlog=self.parts.hooks_backlog,
            publications=self.parts.publications,
            recorder=self._recorder,
            log=EventLog(
                get_logger("tasker_actors.events"),
                publishing=LineSampler(self._settings.logging.event_sample_rate),
                published=LineSampler(self._settings.logging.event_sample_rate),
            ),
            max_payload_bytes=self._settings.events.max_payload_bytes,
            tracer=None if self._tracing is None else self._tracing.tracer(self._subscribers_of),
        )

    def _executor(self, index: int) -> StepExecutor:
        return StepExecutor(
            index,
            ledger=self.parts.ledger,
            ready=self.parts.ready,
            source=self.source,
            router=self.router,
            cells=self._block,
            guard=self.parts.guards[index],
            loop=self.parts.loop,
            logger=get_logger("tasker_actors.handler"),
            hooks_timeout_ms=self._settings.event_bus.dispatch_timeout_ms,
            limits=self.size_limits,
            scope=self._scope,
        )

    def _source(self) -> StepSource:
        return StepSource(
            executors=[self._local(executor_name(index)) for index in range(self._settings.worker.concurrency)],
            publisher=self._local(PUBLISHER),
            ledger=self.parts.ledger,
            ready=self.parts.ready,
            capacity=self._capacity,
            claimer=self._claimer,
            recorder=self._recorder,
            clock=self.parts.clock,
            poll_interval_ms=self._settings.database.poll_interval_ms,
            max_claim_bytes=self._settings.worker.max_claim_bytes,
            max_held_bytes=self._settings.worker.max_held_bytes,
        )
