"""Functions as handlers of decision steps, of batch steps, and of steps that call an HTTP API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from tasker_actors.steps.batch.batchable import Batchable
from tasker_actors.steps.batch.ranges import BatchConfig
from tasker_actors.steps.batch.worker_context import BatchWorkerContext
from tasker_actors.steps.decision import Decision
from tasker_actors.steps.decision_handler import DecisionMixin
from tasker_actors.steps.handler import declare_handler
from tasker_actors.steps.result import StepHandlerResult

if TYPE_CHECKING:
    from tasker_actors.steps.context import StepContext

_Function = TypeVar("_Function", bound=Callable[..., Any])


def decision_handler(name: str, version: str = "1.0.0") -> Callable[[_Function], _Function]:
    """Make a function that returns a `Decision` the handler of a decision step; otherwise like `step_handler`."""

    def conclude(value: Any) -> Any:
        if not isinstance(value, Decision):
            return value
        signature = {"decision_handler": name, "decision_version": version}
        return StepHandlerResult.success(value.outcome.document(), signature)

    return declare_handler(name, version, "decision_handler", mixin=DecisionMixin, conclude=conclude)


def batch_analyzer(name: str, worker_template: str, version: str = "1.0.0") -> Callable[[_Function], _Function]:
    """Make a function that returns a `BatchConfig` the handler of a batchable step; otherwise like `step_handler`.

    The workers are made of the template's step `worker_template`.
    """

    def conclude(value: Any) -> Any:
        if not isinstance(value, BatchConfig):
            return value
        kit = Batchable()
        outcome = kit.create_batch_outcome(value.total_items, value.batch_size, batch_metadata=value.metadata)
        return kit.batch_analyzer_success(outcome, worker_template_name=worker_template)

    return declare_handler(name, version, "batch_analyzer", mixin=Batchable, conclude=conclude)


def batch_worker(name: str, version: str = "1.0.0") -> Callable[[_Function], _Function]:
    """Make a function the handler of a batch's workers: it also gets `batch_context`; otherwise like `step_handler`.

    `batch_context` is a BatchWorkerContext, or None where the step is no worker of a batch.
    """
    provided = {"batch_context": BatchWorkerContext.from_step_context}
    return declare_handler(name, version, "batch_worker", mixin=Batchable, provided=provided)


def api_handler(
    name: str,
    base_url: str,
    version: str = "1.0.0",
    timeout: float = 30.0,
    default_headers: Mapping[str, str] | None = None,
) -> Callable[[_Function], _Function]:
    """Make a function the handler of a step that calls an HTTP API: it also gets `api`; otherwise like `step_handler`.

    `api` is an ApiClient for `base_url`, the same in every call. `timeout` is in seconds.
    """
    from tasker_actors.steps.api_handler import APIMixin  # noqa: PLC0415 - only who calls an API pays for httpx

    members = {"base_url": base_url, "default_timeout": timeout, "default_headers": dict(default_headers or {})}
    client_class: type[APIMixin] = type("ApiClient", (APIMixin,), members)
    client = client_class()

    def api(context: StepContext) -> APIMixin:  # noqa: ARG001 - the same for every attempt
        return client

    return declare_handler(name, version, "api_handler", mixin=client_class, provided={"api": api})
