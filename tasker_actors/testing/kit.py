"""What the runs of one test have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tasker_actors.settings.processes import WorkerSettings
from tasker_actors.testing.clock import ManualClock
from tasker_actors.testing.ids import SeededIds

if TYPE_CHECKING:
    from tasker_actors.testing.task import TaskRun

_HANDLER_TIMEOUT_MS: int = WorkerSettings.model_fields["handler_timeout_ms"].default


def no_jitter() -> float:
    """Stand for chance where delays are to be the plain ones of a template's `retry`."""
    return 0.5


class Kit:
    """A clock, ids and chance, all under the test's control; given to `run_template` and the others as `kit`.

    Ids follow from `seed`. `random` returns numbers in [0, 1) and says where in its jitter a retry's delay is: pass
    `random.Random(1).random` to see some. With `strict` the fixture `kit` fails a test that leaves surprises in its
    tasks.
    """

    def __init__(
        self,
        *,
        clock: ManualClock | None = None,
        seed: int = 0,
        random: Callable[[], float] = no_jitter,
        handler_timeout_ms: int = _HANDLER_TIMEOUT_MS,
        strict: bool = False,
    ) -> None:
        self.clock = clock or ManualClock()
        self.ids = SeededIds(seed, self.clock)
        self.random = random
        self.handler_timeout_ms = handler_timeout_ms
        self.strict = strict
        self.tasks: list[TaskRun] = []
        """The tasks that were started with this kit."""

    def surprises(self) -> list[str]:
        """Say what went wrong in its tasks without failing them; see `TaskRun.surprises`."""
        return [surprise for task in self.tasks for surprise in task.surprises]
