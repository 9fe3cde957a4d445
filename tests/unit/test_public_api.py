"""The package from the seat of somebody who writes handlers."""

import subprocess
import sys

import pytest

import tasker_actors

OWN = {
    "AsyncTaskerClient",
    "BasePublisher",
    "BaseSubscriber",
    "ChildTask",
    "ChildTaskFailedError",
    "DomainEvent",
    "ErrorType",
    "EventConsumer",
    "PermanentError",
    "PublishContext",
    "ReceivedEvent",
    "RetryableError",
    "StepContext",
    "StepHandler",
    "StepHandlerResult",
    "TaskReference",
    "TaskRefusedError",
    "TaskRequest",
    "TaskerClient",
    "depends_on",
    "inputs",
    "step_handler",
    "subscriber",
}
# What modules written for tasker-py import beside these.
KIT = {
    "APIMixin", "ApiHandler", "ApiResponse", "AuthenticationError", "AuthorizationError", "BaseResolver",
    "BatchAggregationResult", "BatchAggregationScenario", "BatchAnalyzerOutcome", "BatchConfig", "BatchWorkerConfig",
    "BatchWorkerContext", "BatchWorkerInputs", "BatchWorkerOutcome", "Batchable", "BusinessLogicError",
    "ClassLookupResolver", "ConfigurationError", "CursorConfig", "Decision", "DecisionHandler", "DecisionMixin",
    "DecisionPointOutcome", "DecisionType", "ErrorClassifier", "EventDeclaration", "EventRequest",
    "ExplicitMappingResolver",
    "DependencyResultsWrapper", "DomainEventMetadata", "ExecutionResult", "HandlerDefinition", "HandlerRegistry",
    "HandlerWrapper", "InProcessDomainEvent", "LogContext", "MethodDispatchWrapper", "NetworkError",
    "NotFoundError", "RateLimitError", "RegistryResolver", "ResolutionError", "ResolverChain",
    "ResolverNotFoundError", "ResourceContentionError", "ServiceUnavailableError", "StepDefinitionWrapper",
    "StepEventContext", "StepHandlerCallResult", "StepResult", "StepTimeoutError", "StepValidationError",
    "TaskSequenceStepWrapper", "TaskWrapper", "TaskerError", "WorkflowStepWrapper", "__version__",
    "aggregate_batch_results", "api_handler",
    "batch_analyzer", "batch_worker", "checkpoint_yield", "decision_handler", "get_classifier", "get_version",
    "is_permanent", "is_retryable", "log_debug", "log_error", "log_info", "log_trace", "log_warn", "version",
}  # fmt: skip
NAMES = OWN | KIT


def test_every_public_name_can_be_imported():
    namespace = {}
    exec("from tasker_actors import *", namespace)  # noqa: S102 - the statement a user would write

    assert set(tasker_actors.__all__) == NAMES
    assert set(namespace) >= NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_says_what_it_is(name):
    assert getattr(tasker_actors, name).__doc__


def test_importing_the_package_loads_none_of_the_runtime():
    heavy = (
        "pykka",
        "psycopg",
        "psycopg_pool",
        "opentelemetry",
        "fastapi",
        "uvicorn",
        "prometheus_client",
        "structlog",
        "httpx",
    )
    code = f"import sys, tasker_actors; print(sorted(set(sys.modules) & set({heavy})))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert done.stdout.strip() == "[]"


def test_the_examples_of_the_specification_are_written_with_it():
    from tasker_actors import (  # noqa: PLC0415 - imported as in a user's module
        PermanentError,
        RetryableError,
        StepContext,
        StepHandler,
        StepHandlerResult,
        depends_on,
        inputs,
        step_handler,
        subscriber,
    )

    class ValidateFlight(StepHandler):
        handler_name = "flights.validate"

        def call(self, context: StepContext) -> StepHandlerResult:
            if context.get_input("carrier") is None:
                return self.failure("no carrier", error_type="missing", retryable=False)
            return self.success({"carrier": context.get_input("carrier")})

    @step_handler("flights.assess_delay")
    @depends_on(weather="fetch_weather")
    @inputs("carrier", "dep_delay")
    def assess_delay(carrier, dep_delay, weather, context):
        if weather is None:
            raise RetryableError("no weather yet", retry_after=5)
        if carrier is None:
            raise PermanentError("no carrier", error_code="CARRIER")
        return {"late": dep_delay > 15}

    @subscriber("flight.*")
    def on_flight(event): ...

    assert ValidateFlight().name == "flights.validate"
    assert assess_delay("AA", 20, {}, None) == {"late": True}
