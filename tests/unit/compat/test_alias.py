"""What a module written for tasker-py imports, in a process of its own: the alias changes the process it is in."""

import subprocess
import sys

import pytest

IMPORTS = """
import tasker_actors.compat.alias
import tasker_core, tasker_actors
import tasker_core.step_handler.functional as functional
from tasker_core import StepContext, StepHandler, StepHandlerResult, ErrorType, Batchable, DecisionHandler, ApiHandler
from tasker_core import BaseResolver, HandlerRegistry, StepTimeoutError, StepValidationError, TaskSequenceStepWrapper
from tasker_core.batch_processing import BatchAggregationScenario
from tasker_core.batch_processing.batchable import BatchWorkerConfig
from tasker_core.domain_events import BasePublisher, BaseSubscriber, StepEventContext
from tasker_core.errors import PermanentError, RetryableError, TaskerError, TimeoutError, ValidationError
from tasker_core.errors.error_classifier import ErrorClassifier
from tasker_core.exceptions import TaskerError as Ancestor
from tasker_core.handler import StepHandler as same
from tasker_core.logging import log_info
from tasker_core.models import DependencyResultsWrapper
from tasker_core.registry.resolvers.class_lookup import ClassLookupResolver
from tasker_core.step_handler import mixins, APIMixin
from tasker_core.step_handler.base import StepHandler as base
from tasker_core.step_handler.mixins.api import ApiResponse
from tasker_core.types import RustBatchWorkerInputs, BatchWorkerContext, create_batches, no_batches
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL
    )
    return done.returncode, done.stdout.strip(), done.stderr.strip()


def test_every_module_of_tasker_py_has_its_home_here():
    code = f"""{IMPORTS}
assert tasker_core is tasker_actors.compat and StepHandler is same is base is tasker_actors.StepHandler
assert issubclass(PermanentError, TaskerError) and issubclass(TaskerError, Ancestor)
assert tasker_core.step_handler.functional is functional and mixins is tasker_core.step_handler.mixins
assert all(hasattr(tasker_core, name) for name in tasker_core.__all__)
tasker_actors.compat.alias.install()
print(tasker_core.version() == tasker_core.__version__ == tasker_actors.get_version() == tasker_actors.__version__)
"""
    assert run(code) == (0, "True", "")


def test_the_kit_is_the_same_by_both_names():
    code = """
import tasker_actors, tasker_actors.compat as compat
both = set(compat.__all__) & set(tasker_actors.__all__)
print([name for name in both if getattr(compat, name) is not getattr(tasker_actors, name)])
"""
    assert run(code) == (0, "[]", "")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("tasker_core", "EventPoller"),
        ("tasker_core.domain_events", "PublisherRegistry"),
        ("tasker_core.types", "WorkerStatus"),
        ("tasker_actors", "EventPoller"),
    ],
)
def test_names_of_tasker_pys_own_worker_say_what_there_is_instead(module, name):
    code, _, error = run(f"import tasker_actors.compat.alias\nfrom {module} import {name}")

    assert code == 1
    assert f"{module}.{name} belongs to tasker-py's own worker; here `tasker-actors run`" in error


@pytest.mark.parametrize(
    ("module", "name", "guidance"),
    [
        ("tasker_core", "TaskerClient", "here tasker_actors.TaskerClient(url) asks a supervisor"),
        ("tasker_core", "FFIError", "nothing raises it here"),
        ("tasker_core.errors", "FFIError", "nothing raises it here"),
        ("tasker_core.exceptions", "ConversionError", "nothing raises it here"),
        ("tasker_actors", "ClientTaskResponse", "context.start_task starts a task from a step"),
    ],
)
def test_names_of_its_client_and_of_its_errors_say_so_too(module, name, guidance):
    code, _, error = run(f"import tasker_actors.compat.alias\nfrom {module} import {name}")

    assert code == 1
    assert f"ImportError: {module}.{name} " in error
    assert guidance in error


def test_to_import_a_submodule_of_the_package_loads_no_name_of_tasker_py():
    code = """
import sys, tasker_actors
from tasker_actors import release
print(hasattr(tasker_actors, "__wrapped__"), "tasker_actors.compat" in sys.modules)
"""
    assert run(code) == (0, "False False", "")


def test_a_name_that_never_was_is_an_ordinary_error():
    code, _, error = run("import tasker_actors.compat.alias\nimport tasker_core\ntasker_core.Nonsense")

    assert code == 1
    assert "AttributeError: module 'tasker_core' has no attribute 'Nonsense'" in error
    code, _, error = run("import tasker_actors\ntasker_actors.Nonsense")
    assert code == 1
    assert "AttributeError: module 'tasker_actors' has no attribute 'Nonsense'" in error


def test_another_tasker_core_that_came_first_is_an_error():
    code, _, error = run("""
import sys, types
sys.modules["tasker_core"] = types.ModuleType("tasker_core")
import tasker_actors.compat.alias
""")

    assert code == 1
    assert "tasker_core was imported from somewhere before; name tasker_actors.compat.alias first" in error
