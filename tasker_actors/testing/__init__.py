"""A kit for testing handlers and templates: in memory, in the test's thread, and the same in every run.

What runs is what runs in a worker: templates are checked and bound, handlers called, outcomes judged, events derived
and subscribers matched by the same modules. Only leases, processes and the database are missing, and time stands still
until something moves it. README, *Testing your handlers*, has an example.
"""

from tasker_actors.testing.clock import ManualClock
from tasker_actors.testing.errors import ContextRefusedError, KitError
from tasker_actors.testing.kit import Kit
from tasker_actors.testing.logs import LogEntry
from tasker_actors.testing.records import AttemptRun, DeadLetter, Delivery, PublishedEvent, Started, StepRun
from tasker_actors.testing.run import run_template, start_template
from tasker_actors.testing.scripted import Outcomes, outcomes
from tasker_actors.testing.single import run_handler, run_step
from tasker_actors.testing.spans import Span
from tasker_actors.testing.task import TaskRun

__all__ = [
    "AttemptRun",
    "ContextRefusedError",
    "DeadLetter",
    "Delivery",
    "Kit",
    "KitError",
    "LogEntry",
    "ManualClock",
    "Outcomes",
    "PublishedEvent",
    "Span",
    "Started",
    "StepRun",
    "TaskRun",
    "outcomes",
    "run_handler",
    "run_step",
    "run_template",
    "start_template",
]
