"""`tasker_core.types`: what handlers get and return. Types of tasker-py's own worker are not here."""

from typing import NoReturn

from tasker_actors.compat.absent import refuse
from tasker_actors.compat.logging import LogContext
from tasker_actors.events.event import DomainEvent as InProcessDomainEvent
from tasker_actors.events.frozen import FrozenDict as DomainEventMetadata
from tasker_actors.events.frozen import FrozenDict as ExecutionResult
from tasker_actors.steps.batch.aggregation import BatchAggregationResult, aggregate_batch_results
from tasker_actors.steps.batch.outcomes import (
    BatchAnalyzerOutcome,
    BatchMetadata,
    BatchProcessingOutcome,
    BatchWorkerOutcome,
    CreateBatchesOutcome,
    NoBatchesOutcome,
    create_batches,
    no_batches,
)
from tasker_actors.steps.batch.outcomes import BatchCursor as RustCursorConfig
from tasker_actors.steps.batch.outcomes import BatchWorkerInputs as RustBatchWorkerInputs
from tasker_actors.steps.batch.ranges import CursorConfig
from tasker_actors.steps.batch.worker_context import BatchWorkerContext
from tasker_actors.steps.context import StepContext
from tasker_actors.steps.decision import DecisionPointOutcome, DecisionType
from tasker_actors.steps.failures import ErrorType
from tasker_actors.steps.result import StepHandlerResult
from tasker_actors.steps.result import StepHandlerResult as StepHandlerCallResult
from tasker_actors.workflow.step_type import FailureStrategy

__all__ = [
    "BatchAggregationResult",
    "BatchAnalyzerOutcome",
    "BatchMetadata",
    "BatchProcessingOutcome",
    "BatchWorkerContext",
    "BatchWorkerOutcome",
    "CreateBatchesOutcome",
    "CursorConfig",
    "DecisionPointOutcome",
    "DecisionType",
    "DomainEventMetadata",
    "ErrorType",
    "ExecutionResult",
    "FailureStrategy",
    "InProcessDomainEvent",
    "LogContext",
    "NoBatchesOutcome",
    "RustBatchWorkerInputs",
    "RustCursorConfig",
    "StepContext",
    "StepHandlerCallResult",
    "StepHandlerResult",
    "aggregate_batch_results",
    "create_batches",
    "no_batches",
]


def __getattr__(name: str) -> NoReturn:
    """Say what there is in place of a name of tasker-py's own worker."""
    refuse(name, "tasker_core.types")
