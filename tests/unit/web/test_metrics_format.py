"""Which format a scraper gets, for the headers that real ones send."""

import pytest

from tasker_actors.web.metrics_format import MetricsFormat, preferred_format

OPENMETRICS, TEXT = MetricsFormat.OPENMETRICS, MetricsFormat.TEXT

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_TEXT_ONLY = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    f"{PROMETHEUS_3.replace('q=0.6', 'q=0.5')}"
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, TEXT),
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        ("application/json", TEXT),
        (PROMETHEUS_2, OPENMETRICS),
        (PROMETHEUS_3, OPENMETRICS),
        (PROMETHEUS_3_PROTOBUF, OPENMETRICS),
        (PROMETHEUS_3_TEXT_ONLY, TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ('Application/OpenMetrics-Text ; Version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text; version=0.0.1", TEXT),
        ("application/openmetrics-text; version=2.0.0, text/plain; q=0.1", TEXT),
        ("application/openmetrics-text;q=0.4, text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.4", OPENMETRICS),
        ("application/openmetrics-text;q=0.5, text/plain;q=0.5", OPENMETRICS),
        ("text/plain, application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;q=0, */*", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("text/plain;q=0, */*;q=0.1", OPENMETRICS),
        ("application/*, text/plain;q=0.5", OPENMETRICS),
        ("application/*, text/*", TEXT),
        ("application/openmetrics-text;q=much, text/plain;q=0.1", TEXT),
        ("application/openmetrics-text;q=nan", TEXT),
        ("text/plain;q=much, application/openmetrics-text;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=7, text/plain;q=0.1", TEXT),
        (";;,,;q=1,/,", TEXT),
    ],
)
def test_the_format_of_an_accept_header(accept, expected):
    assert preferred_format(accept) is expected
