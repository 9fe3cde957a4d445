"""The example's template and code as the runtime has them, and contexts as it builds them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tasker_actors.example import flights
from tasker_actors.example.flight_data import FLIGHTS_DIRECTORY
from tasker_actors.steps.context import StepContext
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.load import load_templates
from tasker_actors.workflow.template import TaskTemplate


@pytest.fixture(scope="session")
def registry() -> HandlerRegistry:
    """What a worker finds in the example's module."""
    return HandlerRegistry.from_modules([flights])


@pytest.fixture(scope="session")
def template() -> TaskTemplate:
    """The only template below the example's directory, without a warning."""
    loaded = load_templates([FLIGHTS_DIRECTORY], environment="production", strict=True)
    [template] = loaded.templates
    return template


@pytest.fixture
def make_context() -> Callable[..., StepContext]:
    def make(input_data: Any = None, **changed: Any) -> StepContext:
        values: dict[str, Any] = {
            "task_uuid": "0193a0e0-0000-7000-8000-000000000001",
            "step_uuid": "0193a0e0-0000-7000-8000-000000000002",
            "step_name": "validate_flight",
            "namespace": "flights",
            "correlation_id": "0193a0e0-0000-7000-8000-000000000003",
            "parent_correlation_id": None,
            "handler_name": "flights.validate",
            "input_data": dict(input_data or {}),
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
