"""What templates name, held against the handlers of a process."""

from tasker_actors.steps.references import reference_faults
from tasker_actors.steps.registry import HandlerRegistry
from tasker_actors.workflow.load import LoadedTemplates
from tasker_actors.workflow.template import TaskTemplate

HANDLERS = """
    from tasker_actors import StepHandler, step_handler

    class Pay(StepHandler):
        handler_name = "pay"
        def call(self, context): ...
        def refund(self, context): ...

    @step_handler("ship")
    def ship(context): ...
"""


def faults_of(make_module, **handler):
    step = {"name": "only", "handler": handler}
    template = TaskTemplate.model_validate({"name": "t", "namespace_name": "n", "version": "1.0.0", "steps": [step]})
    loaded = LoadedTemplates([template], [], {template.identity: "t.yaml"})
    return [
        (fault.severity, fault.key, fault.message)
        for fault in reference_faults(loaded, HandlerRegistry.from_modules([make_module(HANDLERS)]))
    ]


def test_a_method_of_a_class_is_fine(make_module):
    assert faults_of(make_module, callable="pay", method="refund") == []
    assert faults_of(make_module, callable="ship", method="call") == []


def test_a_method_of_a_function_is_a_warning(make_module):
    assert faults_of(make_module, callable="ship", method="later") == [
        ("warning", "handler.method", "ship is a function without methods; it is called itself")
    ]


def test_an_unknown_handler_with_a_method_is_one_error(make_module):
    found = faults_of(make_module, callable="shp", method="later")

    assert [(severity, key) for severity, key, _ in found] == [("error", "handler.callable")]
