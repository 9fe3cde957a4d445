"""Business workflows as steps on supervised worker processes, with durable and in-process domain events.

Here is what handlers, publishers and subscribers are written with (SPEC 6), and what other applications create tasks
and read durable events with. Importing it starts nothing and loads none of the runtime: most names are loaded when they
are first used.
A module that begins with `import tasker_actors as tasker_core` finds the names of tasker-py's kit here.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from tasker_actors.events.event import DomainEvent
from tasker_actors.events.publisher import BasePublisher, PublishContext
from tasker_actors.events.subscriber import BaseSubscriber, subscriber
from tasker_actors.steps.context import StepContext
from tasker_actors.steps.failures import ErrorType, PermanentError, RetryableError
from tasker_actors.steps.handler import StepHandler, step_handler
from tasker_actors.steps.inputs import depends_on, inputs
from tasker_actors.steps.result import StepHandlerResult

if TYPE_CHECKING:
    from tasker_actors.client.async_task_client import AsyncTaskerClient
    from tasker_actors.client.event_request import EventRequest
    from tasker_actors.client.task_client import TaskerClient
    from tasker_actors.client.task_request import TaskRequest
    from tasker_actors.compat.domain_events import EventDeclaration, InProcessDomainEvent, StepEventContext
    from tasker_actors.compat.handler import HandlerRegistry
    from tasker_actors.compat.logging import LogContext, log_debug, log_error, log_info, log_trace, log_warn
    from tasker_actors.consumer.event_consumer import EventConsumer
    from tasker_actors.consumer.received import ReceivedEvent
    from tasker_actors.errors import TaskerError
    from tasker_actors.events.frozen import FrozenDict as DomainEventMetadata
    from tasker_actors.events.frozen import FrozenDict as ExecutionResult
    from tasker_actors.events.publisher import StepResult
    from tasker_actors.release import release as get_version
    from tasker_actors.release import release as version
    from tasker_actors.steps.api_handler import ApiHandler, APIMixin
    from tasker_actors.steps.api_response import ApiResponse
    from tasker_actors.steps.batch.aggregation import (
        BatchAggregationResult,
        BatchAggregationScenario,
        aggregate_batch_results,
    )
    from tasker_actors.steps.batch.batchable import Batchable
    from tasker_actors.steps.batch.outcomes import BatchAnalyzerOutcome, BatchWorkerInputs, BatchWorkerOutcome
    from tasker_actors.steps.batch.ranges import BatchConfig, BatchWorkerConfig, CursorConfig
    from tasker_actors.steps.batch.worker_context import BatchWorkerContext
    from tasker_actors.steps.checkpoint import checkpoint_yield
    from tasker_actors.steps.child_task import ChildTask, ChildTaskFailedError
    from tasker_actors.steps.decision import Decision, DecisionPointOutcome, DecisionType
    from tasker_actors.steps.decision_handler import DecisionHandler, DecisionMixin
    from tasker_actors.steps.kinds import api_handler, batch_analyzer, batch_worker, decision_handler
    from tasker_actors.steps.resolvers.builtin import ClassLookupResolver, ExplicitMappingResolver
    from tasker_actors.steps.resolvers.chain import ResolutionError, ResolverChain, ResolverNotFoundError
    from tasker_actors.steps.resolvers.definition import HandlerDefinition, MethodDispatchWrapper
    from tasker_actors.steps.resolvers.resolver import BaseResolver, RegistryResolver
    from tasker_actors.steps.result import StepHandlerResult as StepHandlerCallResult
    from tasker_actors.steps.sequence_step import (
        DependencyResultsWrapper,
        HandlerWrapper,
        StepDefinitionWrapper,
        TaskSequenceStepWrapper,
        TaskWrapper,
        WorkflowStepWrapper,
    )
    from tasker_actors.steps.step_errors import (
        AuthenticationError,
        AuthorizationError,
        BusinessLogicError,
        ConfigurationError,
        ErrorClassifier,
        NetworkError,
        NotFoundError,
        RateLimitError,
        ResourceContentionError,
        ServiceUnavailableError,
        get_classifier,
        is_permanent,
        is_retryable,
    )
    from tasker_actors.steps.step_errors import TimeoutError as StepTimeoutError
    from tasker_actors.steps.step_errors import ValidationError as StepValidationError
    from tasker_actors.steps.task_reference import TaskReference, TaskRefusedError

    __version__: str

_LATER = {
    "client.async_task_client": ("AsyncTaskerClient",),
    "client.task_client": ("TaskerClient",),
    "client.event_request": ("EventRequest",),
    "client.task_request": ("TaskRequest",),
    "compat.domain_events": ("EventDeclaration", "InProcessDomainEvent", "StepEventContext"),
    "compat.handler": ("HandlerRegistry",),
    "compat.logging": ("LogContext", "log_debug", "log_error", "log_info", "log_trace", "log_warn"),
    "consumer.event_consumer": ("EventConsumer",),
    "consumer.received": ("ReceivedEvent",),
    "errors": ("TaskerError",),
    "events.frozen": ("DomainEventMetadata", "ExecutionResult"),
    "events.publisher": ("StepResult",),
    "release": ("__version__", "get_version", "version"),
    "steps.api_handler": ("APIMixin", "ApiHandler"),
    "steps.api_response": ("ApiResponse",),
    "steps.batch.aggregation": ("BatchAggregationResult", "BatchAggregationScenario", "aggregate_batch_results"),
    "steps.batch.batchable": ("Batchable",),
    "steps.batch.outcomes": ("BatchAnalyzerOutcome", "BatchWorkerInputs", "BatchWorkerOutcome"),
    "steps.batch.ranges": ("BatchConfig", "BatchWorkerConfig", "CursorConfig"),
    "steps.batch.worker_context": ("BatchWorkerContext",),
    "steps.checkpoint": ("checkpoint_yield",),
    "steps.child_task": ("ChildTask", "ChildTaskFailedError"),
    "steps.decision": ("Decision", "DecisionPointOutcome", "DecisionType"),
    "steps.decision_handler": ("DecisionHandler", "DecisionMixin"),
    "steps.kinds": ("api_handler", "batch_analyzer", "batch_worker", "decision_handler"),
    "steps.resolvers.builtin": ("ClassLookupResolver", "ExplicitMappingResolver"),
    "steps.resolvers.chain": ("ResolutionError", "ResolverChain", "ResolverNotFoundError"),
    "steps.resolvers.definition": ("HandlerDefinition", "MethodDispatchWrapper"),
    "steps.resolvers.resolver": ("BaseResolver", "RegistryResolver"),
    "steps.result": ("StepHandlerCallResult",),
    "steps.sequence_step": (
        "DependencyResultsWrapper",
        "HandlerWrapper",
        "StepDefinitionWrapper",
        "TaskSequenceStepWrapper",
        "TaskWrapper",
        "WorkflowStepWrapper",
    ),
    "steps.step_errors": (
        "AuthenticationError",
        "AuthorizationError",
        "BusinessLogicError",
        "ConfigurationError",
        "ErrorClassifier",
        "NetworkError",
        "NotFoundError",
        "RateLimitError",
        "ResourceContentionError",
        "ServiceUnavailableError",
        "StepTimeoutError",
        "StepValidationError",
        "get_classifier",
        "is_permanent",
        "is_retryable",
    ),
    "steps.task_reference": ("TaskReference", "TaskRefusedError"),
}
_MODULES = {name: module for module, names in _LATER.items() for name in names}
_OTHER_NAMES = {
    "DomainEventMetadata": "FrozenDict",
    "ExecutionResult": "FrozenDict",
    "StepHandlerCallResult": "StepHandlerResult",
    "StepTimeoutError": "TimeoutError",
    "StepValidationError": "ValidationError",
    "__version__": "release",
    "get_version": "release",
    "version": "release",
}

__all__ = [
    "APIMixin",
    "ApiHandler",
    "ApiResponse",
    "AsyncTaskerClient",
    "AuthenticationError",
    "AuthorizationError",
    "BasePublisher",
    "BaseResolver",
    "BaseSubscriber",
    "BatchAggregationResult",
    "BatchAggregationScenario",
    "BatchAnalyzerOutcome",
    "BatchConfig",
    "BatchWorkerConfig",
    "BatchWorkerContext",
    "BatchWorkerInputs",
    "BatchWorkerOutcome",
    "Batchable",
    "BusinessLogicError",
    "ChildTask",
    "ChildTaskFailedError",
    "ClassLookupResolver",
    "ConfigurationError",
    "CursorConfig",
    "Decision",
    "DecisionHandler",
    "DecisionMixin",
    "DecisionPointOutcome",
    "DecisionType",
    "DependencyResultsWrapper",
    "DomainEvent",
    "DomainEventMetadata",
    "ErrorClassifier",
    "ErrorType",
    "EventConsumer",
    "EventDeclaration",
    "EventRequest",
    "ExecutionResult",
    "ExplicitMappingResolver",
    "HandlerDefinition",
    "HandlerRegistry",
    "HandlerWrapper",
    "InProcessDomainEvent",
    "LogContext",
    "MethodDispatchWrapper",
    "NetworkError",
    "NotFoundError",
    "PermanentError",
    "PublishContext",
    "RateLimitError",
    "ReceivedEvent",
    "RegistryResolver",
    "ResolutionError",
    "ResolverChain",
    "ResolverNotFoundError",
    "ResourceContentionError",
    "RetryableError",
    "ServiceUnavailableError",
    "StepContext",
    "StepDefinitionWrapper",
    "StepEventContext",
    "StepHandler",
    "StepHandlerCallResult",
    "StepHandlerResult",
    "StepResult",
    "StepTimeoutError",
    "StepValidationError",
    "TaskReference",
    "TaskRefusedError",
    "TaskRequest",
    "TaskSequenceStepWrapper",
    "TaskWrapper",
    "TaskerClient",
    "TaskerError",
    "WorkflowStepWrapper",
    "__version__",
    "aggregate_batch_results",
    "api_handler",
    "batch_analyzer",
    "batch_worker",
    "checkpoint_yield",
    "decision_handler",
    "depends_on",
    "get_classifier",
    "get_version",
    "inputs",
    "is_permanent",
    "is_retryable",
    "log_debug",
    "log_error",
    "log_info",
    "log_trace",
    "log_warn",
    "step_handler",
    "subscriber",
    "version",
]


def __getattr__(name: str) -> Any:
    """Load what is behind a name, once: only who calls an API pays for httpx, only readers of events for psycopg.

    A name that only tasker-py's own worker has a use for raises ImportError, with what there is in its place.
    """
    module = _MODULES.get(name)
    if module is None:
        # Python asks for a submodule here before it loads it; that must not load others.
        if name.startswith("_") or find_spec(f"{__name__}.{name}") is not None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import_module(f"{__name__}.compat.absent").refuse(name, __name__)
    found = getattr(import_module(f"{__name__}.{module}"), _OTHER_NAMES.get(name, name))
    globals()[name] = found = found() if name == "__version__" else found
    return found
