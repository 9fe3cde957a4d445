"""What a handler sees of its step and its task (SPEC 6)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tasker_actors.events.declaration import DeliveryMode, EventCondition
from tasker_actors.events.facts import CodeEvent
from tasker_actors.events.names import check_event_name
from tasker_actors.steps.checkpoint import CheckpointAccess
from tasker_actors.steps.child_task import ChildTask
from tasker_actors.steps.clock import SYSTEM_CLOCK, Clock
from tasker_actors.steps.sequence_step import TaskSequenceStepWrapper
from tasker_actors.steps.task_access import TaskAccess

if TYPE_CHECKING:
    from tasker_actors.steps.task_starter import TaskStarter

_Choice = TypeVar("_Choice", DeliveryMode, EventCondition)

_LISTS = (list, tuple)

_MAX_DEPTH = 256
"""Deeper than orjson goes."""


class CancelledFlag(Protocol):
    """Set by the runtime when the attempt's result is no longer wanted; a threading.Event is one."""

    def is_set(self) -> bool:
        """Tell whether the attempt was given up."""
        ...


@dataclass(slots=True, kw_only=True, eq=False, repr=False)
class StepContext(CheckpointAccess, TaskAccess):
    """One attempt of one step, as its handler sees it.

    The dicts belong to this attempt: a handler may change them and nobody else sees it. `retry_count` is 0 in the
    first attempt and `max_retries` is the step's `max_attempts`, which counts the first try (SPEC 5).
    `dependency_results` are the raw results of the steps that this one depends on, by step name. `step_inputs` is what
    an instance of a batch worker was made with, `checkpoint` what the handler said when it last ended a slice of its
    work, `child_tasks` the tasks that it last waited for, in the order in which it named them.
    `deadline_monotonic` is in seconds of the clock's `monotonic()`: time.monotonic(), but for a test with a clock of
    its own. Used by one handler call at a time; `publish` is not meant for threads that outlive the call, because the
    runtime takes the events when the handler has returned.
    """

    task_uuid: str
    step_uuid: str
    step_name: str
    namespace: str
    correlation_id: str
    parent_correlation_id: str | None
    handler_name: str
    input_data: dict[str, Any]
    dependency_results: dict[str, Any]
    step_config: dict[str, Any]
    step_inputs: dict[str, Any]
    retry_count: int
    max_retries: int
    checkpoint: dict[str, Any] | None = None
    deadline_monotonic: float
    cancelled_flag: CancelledFlag
    logger: Any
    sink: list[CodeEvent]
    starter: TaskStarter | None = None
    child_tasks: tuple[ChildTask, ...] = ()
    clock: Clock = SYSTEM_CLOCK
    _deadline: datetime | None = field(default=None, init=False)

    def __repr__(self) -> str:
        # The task's data stays out: a repr ends up in logs.
        return (
            f"StepContext(step_name={self.step_name!r}, step_uuid={self.step_uuid!r}, retry_count={self.retry_count})"
        )

    def get_input(self, key: str, default: Any = None) -> Any:
        """Return a value of the task's context, or `default` where the key is absent."""
        return self.input_data.get(key, default)

    def get_input_or(self, key: str, default: Any = None) -> Any:
        """Return a value of the task's context, or `default` where it is absent or null."""
        value = self.input_data.get(key)
        return default if value is None else value

    def get_config(self, key: str, default: Any = None) -> Any:
        """Return a value of the handler's `initialization` in the template, or `default` where the key is absent."""
        return self.step_config.get(key, default)

    def get_dependency_result(self, step_name: str) -> Any:
        """Return a step's raw result, or None where this step does not depend on it."""
        return self.dependency_results.get(step_name)

    def get_dependency_field(self, step_name: str, *path: str) -> Any:
        """Return a value inside a step's result, or None where the path ends early."""
        value = self.dependency_results.get(step_name)
        for key in path:
            if not isinstance(value, dict):
                return None
            value = value.get(key)
        return value

    def get_dependency_result_keys(self) -> list[str]:
        """Name the steps whose results are here."""
        return list(self.dependency_results)

    def get_all_dependency_results(self, prefix: str) -> list[Any]:
        """Return the results of all steps whose names start with `prefix`, in the order of their names."""
        names = sorted(name for name in self.dependency_results if name.startswith(prefix))
        return [self.dependency_results[name] for name in names if self.dependency_results[name] is not None]

    def is_retry(self) -> bool:
        """Tell whether an earlier attempt may have begun."""
        return self.retry_count > 0

    def is_last_retry(self) -> bool:
        """Tell whether a failure of this attempt fails the step for good."""
        return self.retry_count >= self.max_retries - 1

    @property
    def task_sequence_step(self) -> TaskSequenceStepWrapper:
        """The same in the shape that tasker-py's handlers know, with `task`, `workflow_step` and `step_definition`."""
        return TaskSequenceStepWrapper.of(self)

    @property
    def deadline(self) -> datetime:
        """When the attempt's time limit ends, as an aware UTC time; the same in every call."""
        if self._deadline is None:
            left = timedelta(seconds=self.deadline_monotonic - self.clock.monotonic())
            self._deadline = self.clock.now() + left
        return self._deadline

    def remaining_ms(self) -> float:
        """Return the milliseconds until the time limit, 0 once it has passed; clock changes do not matter."""
        return max(0.0, (self.deadline_monotonic - self.clock.monotonic()) * 1000)

    @property
    def cancelled(self) -> bool:
        """Whether the runtime has given this attempt up: its result will not be stored, so stop early."""
        return self.cancelled_flag.is_set()

    def publish(self, name: str, payload: Any, delivery: str = "fast", when: str = "success") -> None:
        """Publish a domain event once this attempt is committed, if its outcome fits `when` (SPEC 2.1).

        Raises ValueError at once for a name, delivery mode or condition that does not exist. The payload is copied
        as it is now and checked at the commit: one that cannot be published is a dead letter and never fails the
        step.
        """
        fault = check_event_name(name) if isinstance(name, str) else f"an event name must be text, got {name!r}"
        if fault is not None:
            raise ValueError(fault)
        mode = _member(DeliveryMode, delivery, "delivery")
        condition = _member(EventCondition, when, "when")
        self.sink.append(CodeEvent(name=name, payload=_copied(payload), delivery_mode=mode, when=condition))


def _member(choices: type[_Choice], value: str, argument: str) -> _Choice:
    try:
        return choices(value)
    except ValueError:
        known = ", ".join(choices)
        msg = f"{argument}={value!r} does not exist; it is one of {known}"
        raise ValueError(msg) from None


def _copied(value: Any, depth: int = 0) -> Any:
    """Copy the containers of a JSON value, so that a handler that fills one dict in a loop publishes each state of it.

    Below the depth that JSON encoding allows (a cycle is such a value) it is left as it is: the publisher refuses it.
    """
    if depth < _MAX_DEPTH:
        if isinstance(value, dict):
            return {key: _copied(entry, depth + 1) for key, entry in value.items()}
        if isinstance(value, _LISTS):
            return [_copied(entry, depth + 1) for entry in value]
    return value
