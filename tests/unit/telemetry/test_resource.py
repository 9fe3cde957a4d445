"""What a process says about itself (SPEC 4.1)."""

import os
from importlib.metadata import version

from tasker_actors.telemetry.resource import resource_attributes


def test_the_attributes_of_a_worker(config):
    attributes = dict(resource_attributes(config(OTEL_SERVICE_NAME="flights"), 3))
    assert attributes.pop("service.instance.id")
    assert attributes == {
        "service.name": "flights",
        "service.version": version("tasker-actors"),
        "service.namespace": "tasker",
        "deployment.environment.name": "test",
        "process.pid": os.getpid(),
        "tasker.worker.slot": 3,
    }


def test_a_supervisor_has_no_slot(config):
    assert "tasker.worker.slot" not in resource_attributes(config(), None)


def test_attributes_of_the_environment_add_and_name_the_namespace_but_never_the_instance(config):
    text = "team=ops,service.namespace=flights,service.instance.id=same,process.pid=1,tasker.worker.slot=7"
    attributes = resource_attributes(config(OTEL_RESOURCE_ATTRIBUTES=text), None)
    assert (attributes["team"], attributes["service.namespace"]) == ("ops", "flights")
    assert attributes["service.instance.id"] != "same"
    assert attributes["process.pid"] == os.getpid()
    assert "tasker.worker.slot" not in attributes
    assert resource_attributes(config(OTEL_RESOURCE_ATTRIBUTES=text), 3)["tasker.worker.slot"] == 3


def test_each_incarnation_is_another_instance(config):
    ids = {resource_attributes(config(), 0)["service.instance.id"] for _ in range(3)}
    assert len(ids) == 3
