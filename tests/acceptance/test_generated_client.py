"""A client that a public generator makes of our OpenAPI document works against a real supervisor, types and all."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from support.project import Project
from support.supervised import Supervised, supervised
from support.waiting import until

GENERATOR = Path(sys.prefix) / "openapi-python-client"
KEY = "key-of-the-test"
HANDLERS = """
from pathlib import Path
from tasker_actors import PermanentError, step_handler

@step_handler("measure")
def measure(context):
    return {"measured": context.get_input("amount")}

@step_handler("approve")
def approve(context):
    raise PermanentError("somebody has to look at it")
"""


@pytest.fixture(scope="module")
def one(tmp_path_factory, embedded_server) -> Iterator[Supervised]:
    project = Project(tmp_path_factory.mktemp("generated") / "project")
    project.module("generated_handlers", HANDLERS)
    project.template("order", {"measure": {}, "approve": {"dependencies": ["measure"]}}, namespace="generated")
    variables = {"TASKER_API_KEY": KEY, "TASKER_MAINTENANCE__INTERVAL_MS": "500"}
    with (
        embedded_server.database(migrated=True) as url,
        supervised(project, url, workers=1, variables=variables) as found,
    ):
        found.http.headers["x-api-key"] = KEY
        yield found


@pytest.fixture(scope="module")
def package(one: Supervised, tmp_path_factory) -> Iterator[str]:
    """The name of the generated package, which can be imported."""
    if not GENERATOR.exists():
        pytest.skip(f"openapi-python-client is not in {GENERATOR}: scripts/test puts it there")
    home = tmp_path_factory.mktemp("client")
    (home / "openapi.json").write_text(json.dumps(one.get("/api-docs")), encoding="utf-8")
    (home / "config.yaml").write_text("post_hooks: []\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json", "--meta", "none"),
            *("--config", "config.yaml", "--output-path", "generated_client", "--fail-on-warning"),
        ],
        cwd=home, env={**os.environ, "PYTHONPATH": str(GENERATOR)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(home))
    yield "generated_client"
    sys.path.remove(str(home))


@pytest.fixture
def call(one: Supervised, package: str) -> Iterator[Callable[..., Any]]:
    """Ask an operation by its tag and id; the answer is a typed value."""
    with importlib.import_module(package).AuthenticatedClient(base_url=one.url, token=KEY) as client:

        def ask(tag: str, name: str, *parts: object, **arguments: Any) -> Any:
            module: Any = importlib.import_module(f"{package}.api.{tag}.{name}")
            answer = module.sync_detailed(*parts, client=client, **arguments)
            assert answer.parsed is not None, answer
            return answer.parsed

        yield ask


def test_a_generated_client_creates_follows_and_completes_a_task(call: Callable[..., Any], package: str) -> None:
    models: Any = importlib.import_module(f"{package}.models")
    order = models.NewTask(
        namespace="generated", name="order", context=models.NewTaskContext.from_dict({"amount": 5}), initiator="ann"
    )
    task = call("tasks", "create_task", body=order)
    assert isinstance(task, models.TaskView)
    assert (task.initiator, task.total_steps) == ("ann", 2)
    uuid = UUID(task.task_uuid)

    until(lambda: call("tasks", "get_task", uuid).status == models.TaskState.ERROR)
    steps = {step.name: step for step in call("tasks", "list_steps", uuid)}
    assert steps["measure"].result == {"measured": 5}
    assert steps["measure"].current_state is models.StepState.COMPLETE
    until(lambda: bool(call("dead_tasks", "list_dlq_entries")))
    (entry,) = call("dead_tasks", "list_dlq_entries", resolution_status=models.DlqStatus.PENDING)
    assert (entry.task_uuid, entry.dlq_reason) == (str(uuid), models.DlqReason.MAX_RETRIES_EXCEEDED)

    action = models.StepControl(
        action_type=models.StepAction.COMPLETE_MANUALLY, reason="looked at", completed_by="ann",
        completion_data=models.CompletionData(result={"approved": True}),
    )  # fmt: skip
    step = call("operators", "control_step", uuid, UUID(steps["approve"].step_uuid), body=action)
    assert (step.status, step.result) == (models.StepState.COMPLETE, {"approved": True})
    assert call("tasks", "get_task", uuid).status == models.TaskState.COMPLETE

    page = call("tasks", "list_tasks", namespace="generated", page=1, per_page=10)
    assert [each.task_uuid for each in page.tasks] == [str(uuid)]
    assert page.pagination.total_count == 1
    assert call("templates", "get_template", "generated", "order", "1.0.0").step_count == 2
    assert call("status", "get_health").healthy is True

    wrong = call("tasks", "create_task", body=models.NewTask(namespace="generated", name="ordr"))
    assert isinstance(wrong, models.ErrorView)
    assert wrong.error.code == "unknown_template"
    assert "generated/order" in wrong.error.message


def test_every_operation_has_a_module(one: Supervised, package: str) -> None:
    for path, operations in one.get("/api-docs")["paths"].items():
        for operation in operations.values():
            (tag,) = operation["tags"]
            module: ModuleType = importlib.import_module(
                f"{package}.api.{tag.replace(' ', '_')}.{operation['operationId']}"
            )
            assert callable(module.sync_detailed), path  # type: ignore[attr-defined]  # made a moment ago
