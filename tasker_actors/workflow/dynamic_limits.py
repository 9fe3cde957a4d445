"""How much a task may grow while it runs."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_MAX_DEPTH = 20


@dataclass(frozen=True, slots=True)
class DynamicLimits:
    """Limits of decisions, batches and checkpoints; the settings `decisions` and `batches` have the same names."""

    max_steps: int = 100
    max_depth: int = DEFAULT_MAX_DEPTH
    max_workers: int = 10_000
    max_checkpoint_bytes: int = 1024 * 1024
    max_checkpoint_history: int = 100


DEFAULT_LIMITS = DynamicLimits()
