"""Logging of the test process is put back as it was after each test that sets it up."""

import io
import json

import pytest
from support.logging_state import logging_put_back

from tasker_actors.telemetry.config import TelemetryConfig


class Stream(io.TextIOWrapper):
    """A stream of bytes that tests read back; `terminal` says what `isatty` says."""

    def __init__(self, *, terminal=False):
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.terminal = terminal

    def isatty(self):
        return super().isatty() or self.terminal

    @property
    def text(self):
        return self.buffer.getvalue().decode()

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def stream():
    """Where lines go."""
    return Stream()


@pytest.fixture
def terminal():
    """The same as a terminal."""
    return Stream(terminal=True)


@pytest.fixture(autouse=True)
def _logging_put_back():
    with logging_put_back():
        yield


@pytest.fixture
def config():
    """A configuration from some variables."""

    def make(**environ):
        return TelemetryConfig.from_environ({"TASKER_ENV": "test"} | environ)

    return make
