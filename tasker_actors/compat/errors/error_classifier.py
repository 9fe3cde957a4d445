"""`tasker_core.errors.error_classifier`."""

from tasker_actors.steps.step_errors import ErrorClassifier, get_classifier, is_permanent, is_retryable

__all__ = ["ErrorClassifier", "get_classifier", "is_permanent", "is_retryable"]
