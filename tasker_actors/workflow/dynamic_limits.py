"""How much a task may grow while it runs."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_DEPTH = 20
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DynamicLimits:
    """Limits of decisions, batches, checkpoints and sub-workflows; the settings of these have the same names.

    `max_tasks`, `max_context_bytes` and `max_task_depth` are those of sub-workflows.
    """

    max_steps: int = 100
    max_depth: int = DEFAULT_MAX_DEPTH
    max_workers: int = 10_000
    max_checkpoint_bytes: int = MIB
    max_checkpoint_history: int = 100
    max_tasks: int = 1_000
    max_context_bytes: int = 2 * MIB
    max_task_depth: int = 20


DEFAULT_LIMITS = DynamicLimits()
