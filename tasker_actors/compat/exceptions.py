"""`tasker_core.exceptions`: the ancestor of this package's errors; those of tasker-py's own worker do not occur."""

from typing import NoReturn

from tasker_actors.compat.absent import refuse
from tasker_actors.errors import TaskerError

__all__ = ["TaskerError"]


def __getattr__(name: str) -> NoReturn:
    """Say why nobody has to catch an error of tasker-py's own worker."""
    refuse(name, "tasker_core.exceptions")
