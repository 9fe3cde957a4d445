"""Logging of the test process, put back as it was after a test that sets it up."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logging_put_back() -> Iterator[None]:
    """Let a block set up logging; afterwards root logger, levels, warnings and structlog are what they were."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level, show = list(root.handlers), root.level, warnings.showwarning
    levels = {name: logging.getLogger(name).level for name in list(root.manager.loggerDict)}
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)
    for name in list(root.manager.loggerDict):
        logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))
    structlog.reset_defaults()
    if structlog.get_config() != configured:
        structlog.configure(**configured)
    structlog.contextvars.clear_contextvars()
