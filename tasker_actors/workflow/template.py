"""Templates as values: one frozen model for each mapping of a template file (SPEC 5).

Attribute names are the file's keys, except `json_schema` for `schema`, which pydantic keeps to itself. Other names
that a key may have are in each model's `other_names` and are settled by `keys.py` before a model sees them; a null is
the same as a key that is not there. What can only be seen across several values is checked in `rules.py`.
Keys that no model knows are left out here and reported by `keys.py`: an older release can so read the definitions
that a newer one has stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator

from tasker_actors.errors import TemplateError
from tasker_actors.events.declaration import DeliveryMode, EventCondition
from tasker_actors.workflow import texts
from tasker_actors.workflow.faults import FaultCollector
from tasker_actors.workflow.limits import LimitScope
from tasker_actors.workflow.retry import DEFAULT_BASE_MS, DEFAULT_MAX_ATTEMPTS, DEFAULT_MAX_MS, Backoff, RetryPolicy
from tasker_actors.workflow.step_type import FailureStrategy, StepType

MAX_STEPS = 2_000
MAX_ATTEMPTS = 10_000
MAX_BACKOFF_MS = 86_400_000
MAX_TIMEOUT_SECONDS = 7 * 86_400
MAX_MINUTES = 527_040
"""A year."""
MAX_CONCURRENT = 100_000
MAX_RATE = 1_000_000
MAX_PERIOD_SECONDS = 7 * 86_400

EventName = Annotated[str, AfterValidator(texts.event_name)]
Namespace = Annotated[str, AfterValidator(texts.namespace)]
StepName = Annotated[str, AfterValidator(texts.step_name)]
TemplateName = Annotated[str, AfterValidator(texts.template_name)]
Version = Annotated[str, AfterValidator(texts.version)]
Callable = Annotated[str, AfterValidator(texts.callable_path)]
MethodName = Annotated[str, AfterValidator(texts.method_name)]
LimitName = Annotated[str, AfterValidator(texts.limit_name)]
ContextField = Annotated[str, AfterValidator(texts.context_field)]
NonEmpty = Annotated[str, Field(min_length=1, max_length=255)]
Milliseconds = Annotated[StrictInt, Field(ge=0, le=MAX_BACKOFF_MS)]
Minutes = Annotated[StrictInt, Field(ge=1, le=MAX_MINUTES)]
JsonObject = dict[str, Any]


class IdentityStrategy(StrEnum):
    """What makes two requests for a task the same request."""

    STRICT = "strict"
    CALLER_PROVIDED = "caller_provided"
    ALWAYS_UNIQUE = "always_unique"


class StalenessAction(StrEnum):
    """What happens to a task that stands still for too long."""

    DLQ = "dlq"
    """It gets an entry among the dead, and fails too where `auto_fail_on_timeout` says so."""
    ERROR = "error"
    """It fails."""
    NONE = "none"
    """Nothing: it is only shown."""


class TemplateModel(BaseModel):
    """A mapping of a template file."""

    model_config = ConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)

    other_names: ClassVar[Mapping[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {key: value for key, value in data.items() if value is not None}
        return data


class HandlerSpec(TemplateModel):
    """Which code runs a step, and what it is initialized with."""

    callable: Callable
    method: MethodName | None = None
    resolver: NonEmpty | None = None
    initialization: JsonObject = {}


class RetrySpec(TemplateModel):
    """How a step is retried. `max_backoff_ms` left out is the default, or the base where that is larger."""

    other_names = {"limit": "max_attempts"}

    retryable: StrictBool = True
    max_attempts: Annotated[StrictInt, Field(ge=0, le=MAX_ATTEMPTS)] = DEFAULT_MAX_ATTEMPTS
    backoff: Backoff = Backoff.EXPONENTIAL
    backoff_base_ms: Milliseconds = DEFAULT_BASE_MS
    max_backoff_ms: Milliseconds | None = None


class Lifecycle(TemplateModel):
    """How long a task may stay where it is."""

    max_duration_minutes: Minutes | None = None
    max_waiting_for_dependencies_minutes: Minutes | None = None
    max_waiting_for_retry_minutes: Minutes | None = None
    max_steps_in_process_minutes: Minutes | None = None
    staleness_action: StalenessAction = StalenessAction.DLQ
    auto_fail_on_timeout: StrictBool | None = None
    auto_dlq_on_timeout: StrictBool | None = None


class EventDeclaration(TemplateModel):
    """An event that a step publishes, and when (SPEC 2.1)."""

    name: EventName
    description: str | None = None
    condition: EventCondition = EventCondition.SUCCESS
    delivery_mode: DeliveryMode = DeliveryMode.DURABLE
    json_schema: JsonObject | None = Field(default=None, alias="schema")
    publisher: NonEmpty | None = None


class BatchConfig(TemplateModel):
    """How the work of a batch is divided, and what a failed part of it means; of a batch worker, or of who makes it.

    `parallelism` is there for templates of the original, which does nothing with it either, and has no effect: how many
    instances run at once is said by the worker's `limits`.
    """

    batch_size: Annotated[StrictInt, Field(ge=1, le=100_000)] = 1_000
    parallelism: Annotated[StrictInt, Field(ge=1, le=1_000)] = 10
    cursor_field: NonEmpty = "id"
    worker_template: NonEmpty
    failure_strategy: FailureStrategy = FailureStrategy.CONTINUE_ON_FAILURE


class LimitSpec(TemplateModel):
    """How many steps of a key may run at a time, or begin in a period, in the whole database."""

    name: LimitName | None = None
    scope: LimitScope
    field: ContextField | None = None
    max_concurrent: Annotated[StrictInt, Field(ge=1, le=MAX_CONCURRENT)] | None = None
    rate: Annotated[StrictInt, Field(ge=1, le=MAX_RATE)] | None = None
    period_seconds: Annotated[StrictInt, Field(ge=1, le=MAX_PERIOD_SECONDS)] | None = None


class StepTemplate(TemplateModel):
    """A step of a template. `timeout_seconds` is None where the worker's setting holds.

    A step's `lifecycle` has no effect, because it is tasks that are found standing still: only the template's counts.
    """

    other_names = {"step_type": "type", "depends_on": "dependencies"}

    name: StepName
    description: str | None = None
    handler: HandlerSpec
    type: StepType = StepType.STANDARD
    system_dependency: NonEmpty | None = None
    lifecycle: Lifecycle | None = None
    composition: Any = None
    dependencies: tuple[str, ...] = ()
    retry: RetrySpec = RetrySpec()
    timeout_seconds: Annotated[float, Field(strict=True, gt=0, le=MAX_TIMEOUT_SECONDS)] | None = None
    publishes_events: tuple[EventDeclaration, ...] = ()
    batch_config: BatchConfig | None = None
    limits: tuple[LimitSpec, ...] = ()
    result_schema: JsonObject | None = None

    @property
    def retry_policy(self) -> RetryPolicy:
        """The rules of its retries. The first try always happens: `max_attempts: 0` is 1, as in the original."""
        retry = self.retry
        limit = retry.max_backoff_ms
        return RetryPolicy(
            retryable=retry.retryable,
            max_attempts=max(1, retry.max_attempts),
            backoff=retry.backoff,
            base_ms=retry.backoff_base_ms,
            max_ms=max(DEFAULT_MAX_MS, retry.backoff_base_ms) if limit is None else limit,
        )


def _check_step_count(steps: Any) -> Any:
    # Not pydantic's own limits: they count the steps that are valid, and would add a fault to one that is not.
    if isinstance(steps, list | tuple) and not 1 <= len(steps) <= MAX_STEPS:
        raise ValueError(f"must have from 1 to {MAX_STEPS} entries, not {len(steps)}")
    return steps


class SystemDependencies(TemplateModel):
    """The systems that a template's steps talk to."""

    primary: NonEmpty = "default"
    secondary: tuple[NonEmpty, ...] = ()


class DomainEventDefinition(TemplateModel):
    """An event described for the whole template; only a step's own declarations publish."""

    name: EventName
    description: str | None = None
    json_schema: JsonObject | None = Field(default=None, alias="schema")


class TaskTemplate(TemplateModel):
    """A template as resolved for one environment; `environments` keeps what the file overrides, for reference."""

    name: TemplateName
    namespace_name: Namespace
    version: Version
    description: str | None = None
    metadata: JsonObject = {}
    system_dependencies: SystemDependencies = SystemDependencies()
    domain_events: tuple[DomainEventDefinition, ...] = ()
    input_schema: JsonObject | None = None
    lifecycle: Lifecycle | None = None
    identity_strategy: IdentityStrategy | None = None
    limits: tuple[LimitSpec, ...] = ()
    steps: Annotated[tuple[StepTemplate, ...], BeforeValidator(_check_step_count)]
    environments: JsonObject = {}

    @property
    def identity(self) -> tuple[str, str, str]:
        """Namespace, name and version: what no two templates share."""
        return (self.namespace_name, self.name, self.version)

    def definition(self) -> dict[str, Any]:
        """Return the whole template as JSON values, every default written out, by the keys of a template file.

        Without `environments`: they are merged into the steps already, and what another environment overrides is no
        part of what runs in this one.
        """
        return self.model_dump(mode="json", by_alias=True, exclude={"environments"})

    def content_hash(self) -> str:
        """Return the SHA-256, in hex, of what the template says in its environment.

        Keys are sorted and values left out where they are the default, so that neither the order of keys nor a new
        key of a later release makes it another content.
        """
        said = self.model_dump(mode="json", by_alias=True, exclude={"environments"}, exclude_defaults=True)
        return hashlib.sha256(orjson.dumps(said, option=orjson.OPT_SORT_KEYS)).hexdigest()

    @classmethod
    def from_definition(cls, definition: Mapping[str, Any]) -> Self:
        """Read back what `definition` returned. Raises TemplateError with every fault where it cannot be read."""
        try:
            return cls.model_validate(dict(definition))
        except ValidationError as error:
            collector = FaultCollector("stored definition", definition)
            collector.add_validation_errors(error)
            raise TemplateError(collector.faults) from error
