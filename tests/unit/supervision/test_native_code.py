"""The supervisor loads no native code: it looks at files and patterns, and tells its workers what to load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasker_actors.delivery.patterns import PatternError
from tasker_actors.errors import NativeLibraryError
from tasker_actors.native.bridge import WantedHandler
from tasker_actors.settings import NativeSettings
from tasker_actors.supervision.boot import WorkerBoot
from tasker_actors.supervision.native_code import check_subscribers, wanted_handlers
from tasker_actors.workflow.template import TaskTemplate


def settings(directory: Path, **subscriber: object) -> NativeSettings:
    one = {"library": "gone.so", "symbol": "run", "patterns": ["*"], **subscriber}
    return NativeSettings.model_validate({"directory": directory, "subscribers": [one]})


def test_a_subscriber_without_a_file_or_with_a_wrong_pattern_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NativeLibraryError, match=r"native\.subscribers: gone\.so#run: .*cannot be found"):
        check_subscribers(settings(tmp_path))
    with pytest.raises(PatternError, match=r"native\.subscribers: gone\.so#run: .*"):
        check_subscribers(settings(tmp_path, patterns=["a..b"]))


def template(name: str, *callables: str) -> TaskTemplate:
    steps = [{"name": f"step_{n}", "handler": {"callable": each}} for n, each in enumerate(callables)]
    return TaskTemplate.model_validate({"name": name, "namespace_name": "flights", "version": "1.0.0", "steps": steps})


def test_every_native_handler_is_wanted_once_for_the_step_that_names_it_first() -> None:
    templates = [
        template("one", "python.handler", "native:a.so#run", "native:a.so#walk"),
        template("two", "native:a.so#run", "native:b.so#run"),
    ]
    assert wanted_handlers(templates) == (
        WantedHandler("a.so", "run", "template flights/one@1.0.0, step step_1"),
        WantedHandler("a.so", "walk", "template flights/one@1.0.0, step step_2"),
        WantedHandler("b.so", "run", "template flights/two@1.0.0, step step_1"),
    )


def test_a_worker_is_told_what_to_load() -> None:
    boot = WorkerBoot(
        slot=0,
        incarnation=1,
        worker_id=2,
        settings="{}",
        block_path="",
        database_url="",
        namespaces=("a",),
        handler_modules=(),
        native_handlers=(WantedHandler("a.so", "run", "a step"),),
        template_ids=(4, 5),
    )
    read, write = os.pipe()

    boot.write(write)

    assert WorkerBoot.read(read) == boot
