from tasker_actors.workflow.references import check_references
from tasker_actors.workflow.template import TaskTemplate

TEMPLATE = TaskTemplate.model_validate(
    {
        "name": "order",
        "namespace_name": "shop",
        "version": "1",
        "steps": [
            {"name": "good", "handler": {"callable": "shop.good"}, "publishes_events": [{"name": "a.b"}]},
            {
                "name": "bad",
                "handler": {"callable": "shop.bda"},
                "publishes_events": [
                    {"name": "a.b", "publisher": "default"},
                    {"name": "a.c", "publisher": "AuditPublisher"},
                    {"name": "a.d", "publisher": "AuditPublishr"},
                ],
            },
        ],
    }
)


def handler_exists(handler):
    return None if handler.callable == "shop.good" else f"no handler {handler.callable!r}"


def test_unknown_handlers_are_errors_and_unknown_publishers_warnings():
    faults = check_references(TEMPLATE, file="f", handler_exists=handler_exists, publishers=["AuditPublisher"])
    assert [(fault.step, fault.key, fault.severity) for fault in faults] == [
        ("bad", "handler.callable", "error"),
        ("bad", "publishes_events[2].publisher", "warning"),
    ]
    assert faults[0].message == "no handler 'shop.bda'"
    assert "did you mean 'AuditPublisher'" in faults[1].message


def test_a_template_whose_references_are_all_known_has_no_fault():
    known = {"AuditPublisher", "AuditPublishr"}
    assert check_references(TEMPLATE, file="f", handler_exists=lambda _handler: None, publishers=known) == []
