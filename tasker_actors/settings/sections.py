"""The sections of the configuration: names, units, defaults, limits and one sentence about each key.

README's table of settings is made from these descriptions (`table.py`), and `config/default.toml` repeats the
defaults; a test compares the two.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tasker_actors.native.reference import path_fault, symbol_fault
from tasker_actors.settings.database_url import is_database_url
from tasker_actors.settings.dlq import DlqSettings
from tasker_actors.settings.http import HttpSettings
from tasker_actors.settings.processes import LinkSettings, SupervisorSettings, WorkerSettings
from tasker_actors.settings.schedules import ScheduleSettings
from tasker_actors.settings.section import Section
from tasker_actors.settings.sub_workflows import SubWorkflowSettings
from tasker_actors.settings.values import (
    MIB,
    BlockBytes,
    Bytes,
    Count,
    Days,
    Fraction,
    Limit,
    Milliseconds,
    parse_json,
    split_list,
)
from tasker_actors.telemetry.metrics import LABEL_SETS_PER_METRIC, MAX_EXEMPLARS
from tasker_actors.workflow.dynamic_limits import DEFAULT_LIMITS, DynamicLimits

_CELL_BYTES = 8
_ACTOR_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _without_fault(value: str, fault: str | None) -> str:
    if fault is not None:
        raise ValueError(fault)
    return value


class EventBusSettings(Section):
    """The in-process bus of fast events."""

    dispatch_timeout_ms: Milliseconds = Field(default=5_000, description="Time limit of one delivery to a subscriber.")
    buffer_size: Count = Field(
        default=1_000, description="Events that wait for one subscriber; when full the oldest is dropped and counted."
    )
    buffer_bytes: Bytes = Field(default=16 * MIB, description="The same in bytes of their messages.")
    ffi_buffer_size: Count = Field(
        default=1_000,
        description="Events that wait for native subscribers; when full the oldest is dropped and counted.",
    )
    ffi_buffer_bytes: Bytes = Field(default=16 * MIB, description="The same in bytes of their messages.")
    max_transit_bytes: Bytes = Field(
        default=8 * MIB,
        description="Memory of events between the end of their attempts and the buffers; above it no attempt begins.",
    )
    max_stuck_deliveries: Count = Field(
        default=4,
        description="Deliveries of one subscriber that may never return; then it gets no event until one of them does.",
    )
    hooks_buffer_size: Count = Field(
        default=10_000,
        description="Calls of publishers' hooks that wait after a commit; when full new ones are dropped and counted.",
    )
    hooks_buffer_bytes: Bytes = Field(
        default=32 * MIB, description="The same in bytes of events, dead letters and results."
    )


class CommitSettings(Section):
    """The transaction that stores a batch of results."""

    max_batch: Count = Field(default=300, description="Most results stored in one transaction.")
    max_batch_bytes: Bytes = Field(
        default=4 * MIB, description="Most bytes of results and events in one transaction; a larger result goes alone."
    )


class DecisionSettings(Section):
    """Steps that choose which later steps exist."""

    max_steps: Count = Field(default=DEFAULT_LIMITS.max_steps, description="Most steps that one decision may name.")
    max_depth: Count = Field(
        default=DEFAULT_LIMITS.max_depth,
        description="Most decisions on one way through a template; checked when it is loaded.",
    )


class BatchSettings(Section):
    """Steps that divide work, and the checkpoints of steps that do it in slices."""

    max_workers: Annotated[Count, Field(le=30_000)] = Field(
        default=DEFAULT_LIMITS.max_workers, description="Most instances of a batch worker that one step may create."
    )
    max_checkpoint_bytes: Bytes = Field(
        default=DEFAULT_LIMITS.max_checkpoint_bytes, description="Largest checkpoint, as bytes of JSON."
    )
    max_checkpoint_history: Count = Field(
        default=DEFAULT_LIMITS.max_checkpoint_history,
        description="Cursors of earlier checkpoints that are kept in a checkpoint, the newest.",
    )


class DatabaseSettings(Section):
    """The connection to PostgreSQL."""

    url: str | None = Field(
        default=None,
        repr=False,
        description="PostgreSQL URL (also `TASKER_DATABASE__URL`); where there is none the embedded server is started.",
    )
    connect_timeout_ms: Milliseconds = Field(default=5_000, description="Time limit of one attempt to connect.")
    tcp_user_timeout_ms: Milliseconds = Field(
        default=10_000, description="A connection whose data is not acknowledged for this long counts as cut."
    )
    answer_timeout_ms: Milliseconds = Field(
        default=30_000, description="A connection on which a statement has no answer for this long counts as cut."
    )
    idle_in_transaction_timeout_ms: Milliseconds = Field(
        default=60_000, description="The server ends a session that idles inside a transaction for this long."
    )
    reconnect_backoff_ms: Milliseconds = Field(
        default=100, description="Pause before the first new attempt to connect; doubles, with jitter."
    )
    reconnect_backoff_max_ms: Milliseconds = Field(default=5_000, description="Longest pause between those attempts.")
    poll_interval_ms: Milliseconds = Field(
        default=1_000, description="How often an idle worker looks for work without having been woken."
    )
    wakeup_interval_ms: Milliseconds = Field(
        default=10, description="Shortest time between two wake-ups sent by a worker."
    )
    restart_grace_ms: Milliseconds = Field(
        default=5_000, description="After a start of the server expired leases are not taken for this long."
    )

    @field_validator("url")
    @classmethod
    def _readable_url(cls, value: str | None) -> str | None:
        if value is not None and not is_database_url(value):
            msg = "must be postgresql://user:password@host:port/database or key=value pairs as libpq reads them"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.reconnect_backoff_ms > self.reconnect_backoff_max_ms:
            msg = "reconnect_backoff_ms must not be above reconnect_backoff_max_ms"
            raise ValueError(msg)
        return self


class TemplateSettings(Section):
    """Where templates are read, and how strictly."""

    directories: Annotated[tuple[Path, ...], BeforeValidator(split_list)] = Field(
        default=(), description="Directories (or files) with template files."
    )
    strict: bool = Field(
        default=False,
        description="Unknown keys and unknown publishers are errors instead of warnings; on by default in production.",
    )


class HandlerSettings(Section):
    """The user's code."""

    modules: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        default=(), description="Modules with handlers, publishers and subscribers, importable in a worker."
    )


class NativeSubscriberSettings(Section):
    """A function of a shared library that takes events."""

    library: str
    symbol: str
    patterns: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)

    @field_validator("library")
    @classmethod
    def _path(cls, value: str) -> str:
        return _without_fault(value, path_fault(value))

    @field_validator("symbol")
    @classmethod
    def _symbol(cls, value: str) -> str:
        return _without_fault(value, symbol_fault(value))


class NativeSettings(Section):
    """Code in shared libraries, with the interface of `config/native/tasker_native.h`."""

    directory: Path = Field(
        default=Path(),
        description="Directory of the shared libraries that templates and `native.subscribers` name; nothing outside "
        "of it is loaded.",
    )
    subscribers: Annotated[tuple[NativeSubscriberSettings, ...], BeforeValidator(parse_json)] = Field(
        default=(),
        description="Native subscribers, each a table of `library`, `symbol` and `patterns`; JSON in the variable.",
    )


class LoggingSettings(Section):
    """What is logged; level and format are environment variables, because logging starts first (SPEC 4.1)."""

    event_sample_rate: Fraction = Field(
        default=1.0, description="Share of events (0 to 1) for which the lines about one event are logged."
    )


class EventSettings(Section):
    """Limits of domain events."""

    max_payload_bytes: Bytes = Field(default=MIB, description="Largest payload, as bytes of JSON.")
    max_waiting_publications: Count = Field(
        default=1_000, description="Events from outside of steps that may wait in a worker; more are refused with 503."
    )
    max_waiting_publication_bytes: Bytes = Field(default=16 * MIB, description="The same in bytes of their payloads.")


class RetentionSettings(Section):
    """What is deleted by itself; nothing unless asked for, and never a durable event."""

    finished_tasks_days: Days | None = Field(default=None, description="Age at which finished tasks are deleted.")
    attempts_days: Days | None = Field(default=None, description="Age at which rows of single attempts are deleted.")
    dead_letters_days: Days | None = Field(default=None, description="Age at which dead letters are deleted.")
    task_dead_letters_days: Days | None = Field(
        default=None, description="Age at which closed entries of dead tasks are deleted."
    )
    step_audits_days: Days | None = Field(
        default=None, description="Age at which the record of who did what to a step is deleted."
    )


class TelemetrySettings(Section):
    """The telemetry settings of the file; the others are environment variables (SPEC 4.1)."""

    shutdown_timeout_ms: Milliseconds = Field(
        default=2_000,
        description="Longest time that exporting what is left delays a stop: half for the workers, half after them.",
    )
    max_queue_bytes: Bytes = Field(
        default=32 * MIB,
        description="Memory that spans, and as much that log records, may hold in a process until they are exported.",
    )
    label_sets_per_metric: Limit = Field(
        default=LABEL_SETS_PER_METRIC,
        description="Label sets a metric may have beside those of the templates; more share its overflow series.",
    )
    max_counter_bytes: BlockBytes = Field(
        default=4 * MIB,
        description="Shared memory of a worker's figures, a multiple of 4096; label sets without room share the "
        "overflow series.",
    )
    max_exemplars: Limit = Field(
        default=MAX_EXEMPLARS,
        description="Exemplars that a worker keeps between two heartbeats; further ones are left out.",
    )


class MaintenanceSettings(Section):
    """The periodic work of one leader among all supervisors."""

    interval_ms: Milliseconds = Field(default=1_000, description="Time between two rounds of maintenance.")
    stale_worker_ms: Milliseconds = Field(
        default=10_000, description="A worker of another host that was not heard of for this long is settled as dead."
    )


class Settings(Section):
    """The whole configuration, frozen and valid; `load_settings` makes it, a worker gets its parent's as JSON."""

    environment: str = Field(
        default="development",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        description="Name of the environment; picks the templates' `environments` overrides.",
    )
    home: Path = Field(default=Path(".tasker"), description="Directory of the embedded server and of runtime files.")
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    supervisor: SupervisorSettings = SupervisorSettings()
    links: LinkSettings = LinkSettings()
    event_bus: EventBusSettings = EventBusSettings()
    commit: CommitSettings = CommitSettings()
    decisions: DecisionSettings = DecisionSettings()
    batches: BatchSettings = BatchSettings()
    sub_workflows: SubWorkflowSettings = SubWorkflowSettings()
    database: DatabaseSettings = DatabaseSettings()
    http: HttpSettings = HttpSettings()
    templates: TemplateSettings = TemplateSettings()
    handlers: HandlerSettings = HandlerSettings()
    native: NativeSettings = NativeSettings()
    logging: LoggingSettings = LoggingSettings()
    events: EventSettings = EventSettings()
    retention: RetentionSettings = RetentionSettings()
    dlq: DlqSettings = DlqSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    maintenance: MaintenanceSettings = MaintenanceSettings()
    actors: dict[str, str] = Field(
        default_factory=dict, description="Your own pykka actors, hosted in every worker: name = `module:Class`."
    )

    @model_validator(mode="after")
    def _room_for_counters(self) -> Self:
        """The block has places for what runs and for what has begun, and a good part of it must be left for figures."""
        held = self.worker.concurrency + self.worker.prefetch
        least = (self.worker.concurrency + held) * 2 * _CELL_BYTES + MIB
        if self.telemetry.max_counter_bytes < least:
            msg = (
                f"telemetry.max_counter_bytes ({self.telemetry.max_counter_bytes}) must be {least} at least, for "
                f"worker.concurrency ({self.worker.concurrency}) and worker.prefetch ({self.worker.prefetch})"
            )
            raise ValueError(msg)
        return self

    @property
    def dynamic_limits(self) -> DynamicLimits:
        """How much a task may grow while it runs."""
        return DynamicLimits(
            max_steps=self.decisions.max_steps,
            max_depth=self.decisions.max_depth,
            max_workers=self.batches.max_workers,
            max_checkpoint_bytes=self.batches.max_checkpoint_bytes,
            max_checkpoint_history=self.batches.max_checkpoint_history,
            max_tasks=self.sub_workflows.max_tasks,
            max_context_bytes=self.sub_workflows.max_context_bytes,
            max_task_depth=self.sub_workflows.max_depth,
        )

    @field_validator("actors")
    @classmethod
    def _actor_paths(cls, value: dict[str, str]) -> dict[str, str]:
        for name, path in value.items():
            if not _ACTOR_PATH.fullmatch(path):
                msg = f"{name} must be module:Class"
                raise ValueError(msg)
        return value
