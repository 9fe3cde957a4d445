"""The sections about processes: workers, how they are restarted and recycled, and the start and stop of the whole."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from tasker_actors.settings.section import Section
from tasker_actors.settings.values import (
    MIB,
    Bytes,
    Count,
    Fraction,
    Lifetime,
    Limit,
    Memory,
    MessageBytes,
    Milliseconds,
    WorkDone,
    available_cpus,
)


class WorkerSettings(Section):
    """One worker process, and how its supervisor restarts it."""

    count: Count = Field(default_factory=available_cpus, description="Worker processes; the number of CPUs by default.")
    concurrency: Count = Field(default=8, description="Steps that a worker runs at the same time.")
    prefetch: Limit = Field(
        default=256,
        description="Steps that a worker may hold beside those it runs; it holds about 100 ms of work, and never more.",
    )
    max_held_bytes: Bytes = Field(
        default=32 * MIB, description="Input of the steps that a worker holds; beyond it more stay in the database."
    )
    max_claim_bytes: Bytes = Field(
        default=MIB,
        description="Input of the steps that one claim, or one commit, may bring; a larger step comes alone.",
    )
    max_result_bytes: Bytes = Field(
        default=64 * MIB, description="Largest result of a step, as bytes of JSON; a larger one fails it for good."
    )
    mailbox_size: Count = Field(
        default=10_000, description="Messages that may wait for an actor of yours; more are refused and counted."
    )
    handler_timeout_ms: Milliseconds = Field(
        default=30_000, description="Time limit of one attempt where the template's step gives no `timeout_seconds`."
    )
    timeout_grace_ms: Milliseconds = Field(
        default=1_000, description="Time that a handler past its limit gets to return before its worker is replaced."
    )
    lease_ms: Milliseconds = Field(
        default=30_000,
        description="Length of a claim on a step, 1.5 times `hang_timeout_ms` at least; the worker extends it while it "
        "holds the step.",
    )
    heartbeat_interval_ms: Milliseconds = Field(
        default=250, description="How often a worker reports progress and figures to its supervisor."
    )
    hang_timeout_ms: Milliseconds = Field(
        default=10_000, description="A worker that makes no progress for this long is replaced."
    )
    restart_limit: Limit = Field(
        default=5, description="More crashes of one slot within `restart_window_ms`, and the supervisor gives up."
    )
    restart_limit_overall: Limit | None = Field(
        default=None,
        description="The same for all slots together; by default `restart_limit` and one more for each worker.",
    )
    restart_window_ms: Milliseconds = Field(default=30_000, description="Window in which crashes are counted.")
    restart_backoff_ms: Milliseconds = Field(
        default=100, description="Pause before the first restart of a slot; doubles with each crash in the window."
    )
    restart_backoff_max_ms: Milliseconds = Field(default=5_000, description="Longest pause before a restart.")
    recycle_steps: WorkDone | None = Field(
        default=None, description="A worker that has finished so many attempts is replaced."
    )
    recycle_age_ms: Lifetime | None = Field(default=None, description="A worker is replaced at this age.")
    recycle_memory_bytes: Memory | None = Field(
        default=None, description="A worker whose resident memory reaches this is replaced."
    )
    recycle_jitter: Fraction = Field(
        default=0.1, description="Share (0 to 1) by which these three are lowered at most, for each worker by chance."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for shorter, longer in (
            ("heartbeat_interval_ms", "hang_timeout_ms"),
            ("heartbeat_interval_ms", "lease_ms"),
            ("restart_backoff_ms", "restart_backoff_max_ms"),
        ):
            if getattr(self, shorter) > getattr(self, longer):
                msg = f"{shorter} ({getattr(self, shorter)}) must not be above {longer} ({getattr(self, longer)})"
                raise ValueError(msg)
        # A lease that is extended each third of its length has two thirds left at least. If it ended before its worker
        # counts as hung, a step that hangs its worker would be given back uncounted, and done again, for ever.
        if 2 * self.lease_ms < 3 * self.hang_timeout_ms:
            msg = (
                f"lease_ms ({self.lease_ms}) must be 1.5 times hang_timeout_ms ({self.hang_timeout_ms}) at least, or "
                "a hung worker's steps are given back before it counts as hung"
            )
            raise ValueError(msg)
        return self


class SupervisorSettings(Section):
    """Start and stop of the whole."""

    startup_timeout_ms: Milliseconds = Field(
        default=15_000, description="Time for the database to answer and the workers to become ready."
    )
    drain_timeout_ms: Milliseconds = Field(
        default=25_000,
        description="From TERM or INT to the end of the process, 5000 at least. Running steps may take all but the "
        "last 9 s of it (36 % if it is below 25000); the rest goes back unfinished. Workers that are replaced get all.",
    )


class LinkSettings(Section):
    """The sockets over which the supervisor and its workers send messages; the same at both ends."""

    max_message_bytes: MessageBytes = Field(
        default=16 * MIB, description="Largest message between two processes; a larger one is refused to its sender."
    )
    max_queued_messages: Count = Field(
        default=10_000, description="Messages that may wait for a process that takes none; more are refused."
    )
    max_queued_bytes: Bytes = Field(default=32 * MIB, description="The same in bytes.")
    send_timeout_ms: Milliseconds = Field(
        default=5_000, description="Time that a sender waits for room before its message is refused."
    )
    max_relayed_asks: Count = Field(
        default=100_000,
        description="Questions between workers whose answers the supervisor waits for; more are refused.",
    )
