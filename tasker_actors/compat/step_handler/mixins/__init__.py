"""`tasker_core.step_handler.mixins`."""

from tasker_actors.steps.api_handler import APIMixin
from tasker_actors.steps.api_response import ApiResponse
from tasker_actors.steps.decision_handler import DecisionMixin

__all__ = ["APIMixin", "ApiResponse", "DecisionMixin"]
