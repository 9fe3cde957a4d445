"""`tasker_core.step_handler`: handlers as classes and as functions."""

from tasker_actors.compat.step_handler import functional, mixins
from tasker_actors.compat.step_handler.functional import (
    BatchConfig,
    Decision,
    FunctionalHandler,
    HandlerDecorator,
    api_handler,
    batch_analyzer,
    batch_worker,
    decision_handler,
    depends_on,
    inputs,
    step_handler,
)
from tasker_actors.compat.step_handler.mixins import APIMixin, DecisionMixin
from tasker_actors.steps.api_handler import ApiHandler
from tasker_actors.steps.api_response import ApiResponse
from tasker_actors.steps.decision_handler import DecisionHandler
from tasker_actors.steps.handler import StepHandler
from tasker_actors.steps.result import StepHandlerResult as StepHandlerCallResult

__all__ = [
    "APIMixin",
    "ApiHandler",
    "ApiResponse",
    "BatchConfig",
    "Decision",
    "DecisionHandler",
    "DecisionMixin",
    "FunctionalHandler",
    "HandlerDecorator",
    "StepHandler",
    "StepHandlerCallResult",
    "api_handler",
    "batch_analyzer",
    "batch_worker",
    "decision_handler",
    "depends_on",
    "functional",
    "inputs",
    "mixins",
    "step_handler",
]
