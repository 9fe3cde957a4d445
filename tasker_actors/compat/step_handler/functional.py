"""`tasker_core.step_handler.functional`: handlers as functions."""

from collections.abc import Callable
from typing import Any

from tasker_actors.steps.batch.ranges import BatchConfig
from tasker_actors.steps.decision import Decision
from tasker_actors.steps.handler import step_handler
from tasker_actors.steps.handler_class import FunctionalHandler
from tasker_actors.steps.inputs import depends_on, inputs
from tasker_actors.steps.kinds import api_handler, batch_analyzer, batch_worker, decision_handler

HandlerDecorator = Callable[[Callable[..., Any]], FunctionalHandler]

__all__ = [
    "BatchConfig",
    "Decision",
    "FunctionalHandler",
    "HandlerDecorator",
    "api_handler",
    "batch_analyzer",
    "batch_worker",
    "decision_handler",
    "depends_on",
    "inputs",
    "step_handler",
]
