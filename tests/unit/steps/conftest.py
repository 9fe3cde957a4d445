"""A context as the runtime would build it, and modules as a user would write them."""

import sys
import threading
import time
from textwrap import dedent
from types import ModuleType

import pytest

from tasker_actors.steps.context import StepContext


@pytest.fixture
def make_context():
    def make(**changed):
        values = {
            "task_uuid": "0193a0e0-0000-7000-8000-000000000001",
            "step_uuid": "0193a0e0-0000-7000-8000-000000000002",
            "step_name": "assess_delay",
            "namespace": "flights",
            "correlation_id": "0193a0e0-0000-7000-8000-000000000003",
            "parent_correlation_id": None,
            "handler_name": "flights.assess_delay",
            "input_data": {},
            "dependency_results": {},
            "step_config": {},
            "step_inputs": {},
            "retry_count": 0,
            "max_retries": 3,
            "deadline_monotonic": time.monotonic() + 30,
            "cancelled_flag": threading.Event(),
            "logger": None,
            "sink": [],
        }
        return StepContext(**(values | changed))

    return make


@pytest.fixture
def make_module(monkeypatch):
    """Execute a source text as a module of that name; it is importable until the test ends."""

    def make(source, name="user_handlers"):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(dedent(source), f"{name}.py", "exec"), module.__dict__)  # noqa: S102 - the test's own source
        return module

    return make
