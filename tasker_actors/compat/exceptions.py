"""`tasker_core.exceptions`: the ancestor of this package's errors; those of tasker-py's own worker do not occur."""

from tasker_actors.errors import TaskerError

__all__ = ["TaskerError"]
