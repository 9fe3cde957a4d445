"""tasker-py's package as its modules import it: `tasker_actors.compat.alias` gives it the name `tasker_core`.

Only names are here; what they stand for is in `steps/` and `events/`. What belongs to tasker-py's own worker has no
counterpart, and says so.
"""

from __future__ import annotations

from typing import Any

from tasker_actors.compat.absent import refuse
from tasker_actors.compat.batch_processing import Batchable, BatchAggregationScenario, BatchWorkerConfig
from tasker_actors.compat.domain_events import (
    BasePublisher,
    BaseSubscriber,
    EventDeclaration,
    InProcessDomainEvent,
    PublishContext,
    StepEventContext,
    StepResult,
)
from tasker_actors.compat.errors import (
    AuthenticationError,
    AuthorizationError,
    BusinessLogicError,
    ConfigurationError,
    NetworkError,
    NotFoundError,
    PermanentError,
    RateLimitError,
    ResourceContentionError,
    RetryableError,
    ServiceUnavailableError,
)
from tasker_actors.compat.errors import TimeoutError as StepTimeoutError
from tasker_actors.compat.errors import ValidationError as StepValidationError
from tasker_actors.compat.errors.error_classifier import ErrorClassifier, get_classifier, is_permanent, is_retryable
from tasker_actors.compat.exceptions import TaskerError
from tasker_actors.compat.handler import HandlerRegistry
from tasker_actors.compat.logging import LogContext, log_debug, log_error, log_info, log_trace, log_warn
from tasker_actors.compat.models import (
    DependencyResultsWrapper,
    HandlerWrapper,
    StepDefinitionWrapper,
    TaskSequenceStepWrapper,
    TaskWrapper,
    WorkflowStepWrapper,
)
from tasker_actors.compat.registry import (
    BaseResolver,
    ClassLookupResolver,
    ExplicitMappingResolver,
    HandlerDefinition,
    MethodDispatchWrapper,
    RegistryResolver,
    ResolutionError,
    ResolverChain,
    ResolverNotFoundError,
)
from tasker_actors.compat.step_handler import (
    ApiHandler,
    APIMixin,
    ApiResponse,
    DecisionHandler,
    DecisionMixin,
    StepHandler,
)
from tasker_actors.compat.types import (
    BatchAnalyzerOutcome,
    BatchWorkerContext,
    BatchWorkerOutcome,
    CursorConfig,
    DecisionPointOutcome,
    DecisionType,
    DomainEventMetadata,
    ErrorType,
    ExecutionResult,
    StepContext,
    StepHandlerCallResult,
    StepHandlerResult,
)
from tasker_actors.release import release as get_version
from tasker_actors.release import release as version

__all__ = [
    "APIMixin",
    "ApiHandler",
    "ApiResponse",
    "AuthenticationError",
    "AuthorizationError",
    "BasePublisher",
    "BaseResolver",
    "BaseSubscriber",
    "BatchAggregationScenario",
    "BatchAnalyzerOutcome",
    "BatchWorkerConfig",
    "BatchWorkerContext",
    "BatchWorkerOutcome",
    "Batchable",
    "BusinessLogicError",
    "ClassLookupResolver",
    "ConfigurationError",
    "CursorConfig",
    "DecisionHandler",
    "DecisionMixin",
    "DecisionPointOutcome",
    "DecisionType",
    "DependencyResultsWrapper",
    "DomainEventMetadata",
    "ErrorClassifier",
    "ErrorType",
    "EventDeclaration",
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
    "TaskSequenceStepWrapper",
    "TaskWrapper",
    "TaskerError",
    "WorkflowStepWrapper",
    "__version__",
    "get_classifier",
    "get_version",
    "is_permanent",
    "is_retryable",
    "log_debug",
    "log_error",
    "log_info",
    "log_trace",
    "log_warn",
    "version",
]


def __getattr__(name: str) -> Any:
    """Give the version, which only who asks has to read; say what there is in place of a name that is not here."""
    if name != "__version__":
        refuse(name, "tasker_core")
    return version()
