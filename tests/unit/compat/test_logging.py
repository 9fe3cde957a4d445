import structlog

from tasker_actors.compat import logging


def test_lines_have_their_level_and_fields():
    with structlog.testing.capture_logs() as lines:
        logging.log_error("broken", {"event": "x", "order": 1})
        logging.log_warn("odd")
        logging.log_info("done", {"order": 2})
        logging.log_debug("detail")
        logging.log_trace("finer")

    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("broken", "error"),
        ("odd", "warning"),
        ("done", "info"),
        ("detail", "debug"),
        ("finer", "debug"),
    ]
    assert (lines[0]["event_"], lines[0]["order"], lines[2]["order"]) == ("x", 1, 2)


def test_fields_may_be_a_context_of_which_what_is_set_counts():
    with structlog.testing.capture_logs() as lines:
        logging.log_info("done", logging.LogContext(operation="weigh", namespace="parcels"))

    assert lines == [{"event": "done", "log_level": "info", "operation": "weigh", "namespace": "parcels"}]
