"""What config/ gives to operators fits the code: names of metrics and labels, headings of README, parts of a whole."""

from __future__ import annotations

import re

import pytest
import yaml
from support import operators_files
from support.operators_files import CONFIG, PROMETHEUS, Query
from support.promql import TARGET_LABELS, known_metrics, named
from support.readme_tables import ROOT

from tasker_actors.cli.options import DEFAULT_URL
from tasker_actors.telemetry.config import TelemetryConfig
from tasker_actors.telemetry.metrics import TABLE

KNOWN = known_metrics()
RECORDED = {rule["record"] for rule in operators_files.recordings()}
QUERIES = [
    *operators_files.rule_queries(),
    *operators_files.panel_queries(),
    *operators_files.variable_queries(),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Metrics that are on no panel, and where the same is seen.
SEEN_ELSEWHERE = {
    "router_durable_routed_total": "published events by delivery mode",
    "router_fast_routed_total": "published events by delivery mode",
    "router_broadcast_routed_total": "published events by delivery mode",
    "router_fast_delivery_errors_total": "refusals by reason, bus_refused",
    "in_process_bus_subscriber_drops_total": "dropped deliveries by channel",
    "in_process_bus_ffi_channel_drops_total": "dropped deliveries by channel",
    "tasker_steps_claimed_total": "attempts; it differs by what was given back",
    "tasker_steps_results_submitted_total": "attempts, which are counted when they are committed",
}


def labels_of(metric: str) -> frozenset[str]:
    """A metric's labels; of a recorded one those that its level names."""
    if metric in KNOWN:
        return KNOWN[metric]
    level = metric.partition(":")[0]
    rule = next(rule for rule in operators_files.recordings() if rule["record"] == metric)
    listed = named(rule["expr"]).listed
    nested = [labels_of(each) for each in named(rule["expr"]).metrics if each in RECORDED]
    labels = frozenset().union(listed, *nested) - {"le"}
    assert level == "_".join(sorted(labels - {"job"})), metric
    return labels


# Prometheus


def test_an_expression_is_taken_apart() -> None:
    found = named('sum by (a, le) (rate(x_total{b=~"c{}|d", e!="f"}[5m] offset 1m)) / on (g) up > bool 3e2 and x:y:z')
    assert found.metrics == {"x_total", "up", "x:y:z"}
    assert found.matched == {"x_total": {"b", "e"}}
    assert found.listed == {"a", "le", "g"}


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
def test_every_metric_and_label_that_is_asked_for_exists(query: Query) -> None:
    found = named(query.expression)
    assert found.metrics, query
    assert found.metrics - KNOWN.keys() - RECORDED == set()
    for metric, labels in found.matched.items():
        assert labels <= labels_of(metric), metric
    assert found.listed <= frozenset().union(*map(labels_of, found.metrics))


def test_every_metric_of_the_table_is_shown_or_seen_elsewhere() -> None:
    asked = frozenset().union(*(named(query.expression).metrics for query in QUERIES))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    names = {metric.prometheus_name for metric in TABLE if metric.counted_in is None}
    assert names - shown == SEEN_ELSEWHERE.keys()


def test_every_recorded_figure_is_used() -> None:
    used = frozenset().union(*(named(query.expression).metrics for query in QUERIES))
    assert RECORDED - used == set()


@pytest.mark.parametrize("alert", operators_files.alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_what_happened_and_where_to_look(alert: dict) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    assert all(alert["annotations"].values())
    assert alert["labels"]["severity"] in ("critical", "warning")
    # As the pages of repositories make anchors from headings.
    headings = re.findall(r"^#{2,3} (.+)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}
    file, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert file == "README.md"
    assert anchor in anchors


def test_every_alert_is_seen_firing_and_the_healthy_system_is_silent() -> None:
    cases = yaml.safe_load(operators_files.RULE_TESTS.read_text(encoding="utf-8"))["tests"]
    firing = {
        name
        for case in cases
        for check in case["promql_expr_test"]
        for sample in check["exp_samples"]
        for name in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert firing == {alert["alert"] for alert in operators_files.alerts()}
    assert cases[0]["promql_expr_test"] == [
        {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "2h", "exp_samples": []}
    ]


def test_prometheus_scrapes_the_default_address_and_loads_both_rule_files() -> None:
    document = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    [job] = document["scrape_configs"]
    assert job["static_configs"] == [{"targets": [DEFAULT_URL.removeprefix("http://")]}]
    assert [PROMETHEUS / name for name in document["rule_files"]] == list(operators_files.RULE_FILES)
    jobs = {name for query in QUERIES for name in re.findall(r'\bjob="(\w+)"', query.expression)}
    assert jobs == {job["job_name"]}


# Grafana


def test_panels_have_their_own_numbers_and_places_and_read_the_chosen_data_source() -> None:
    dashboard = operators_files.dashboard()
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in dashboard["panels"])
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert {x for x, _ in cells} == set(range(24))
    for panel in operators_files.panels():
        sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources), panel["title"]


def test_variables_that_are_used_are_there_and_all_are_used() -> None:
    variables = {variable["name"] for variable in operators_files.dashboard()["templating"]["list"]}
    text = operators_files.DASHBOARD.read_text(encoding="utf-8")
    assert {"datasource", "namespace", "worker"} <= variables
    assert set(re.findall(r"\$\{?(?!__)(\w+)", text)) == variables


def test_legends_name_labels_that_the_query_keeps() -> None:
    for panel in operators_files.panels():
        for target in panel["targets"]:
            found = named(target["expr"])
            aggregated = bool(re.search(r"\bby \(|\bsum\(|\bmax\(", target["expr"]))
            kept = found.listed if aggregated else frozenset().union(*map(labels_of, found.metrics))
            assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept, panel["title"]


def test_grafana_is_given_the_data_source_and_the_folder_of_the_dashboard() -> None:
    folder = CONFIG / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yaml").read_text(encoding="utf-8"))
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))["global"]["scrape_interval"]
    assert [each["type"] for each in source["datasources"]] == ["prometheus"]
    assert source["datasources"][0]["jsonData"]["timeInterval"] == scraped
    provider = yaml.safe_load((folder / "dashboards" / "tasker_actors.yaml").read_text(encoding="utf-8"))
    assert provider["providers"][0]["options"]["path"].startswith("/")


# The collector

COLLECTOR = yaml.safe_load(operators_files.COLLECTOR.read_text(encoding="utf-8"))
# The keys of each component as its documentation has them; those of ours must be among them.
COMPONENT_KEYS = {
    "otlp": {"protocols"},
    "memory_limiter": {
        "check_interval", "limit_mib", "spike_limit_mib", "limit_percentage", "spike_limit_percentage",
        "min_gc_interval_when_soft_limited", "min_gc_interval_when_hard_limited",
    },
    "batch": {
        "send_batch_size", "timeout", "send_batch_max_size", "metadata_keys", "metadata_cardinality_limit",
    },
    "otlp_grpc": {
        "endpoint", "tls", "headers", "compression", "timeout", "sending_queue", "retry_on_failure", "balancer_name",
        "keepalive", "wait_for_ready", "auth",
    },
    "prometheus": {
        "endpoint", "const_labels", "namespace", "send_timestamps", "metric_expiration", "enable_open_metrics",
        "resource_to_telemetry_conversion", "add_metric_suffixes", "without_scope_info", "tls",
        "translation_strategy",
    },
    "debug": {"verbosity", "sampling_initial", "sampling_thereafter", "use_internal_logger", "output_paths"},
}  # fmt: skip


def test_every_component_of_the_collector_is_used_and_every_used_one_is_there() -> None:
    assert set(COLLECTOR) == {"receivers", "processors", "exporters", "service"}
    pipelines = COLLECTOR["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in pipelines.values() for name in pipeline[kind]}
        assert used == set(COLLECTOR[kind])
        for name, keys in COLLECTOR[kind].items():
            assert set(keys) <= COMPONENT_KEYS[name.partition("/")[0]], name


def test_memory_is_limited_before_anything_is_collected_in_batches() -> None:
    for name, pipeline in COLLECTOR["service"]["pipelines"].items():
        assert pipeline["processors"] == ["memory_limiter", "batch"], name
    assert "prometheus" not in {
        name for kind in ("traces", "logs") for name in COLLECTOR["service"]["pipelines"][kind]["exporters"]
    }


def test_the_collector_listens_on_loopback_where_we_send_by_default() -> None:
    protocols = COLLECTOR["receivers"]["otlp"]["protocols"]
    grpc = TelemetryConfig.from_environ({})
    http = TelemetryConfig.from_environ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    for protocol, config in (("grpc", grpc), ("http", http)):
        assert protocols[protocol]["endpoint"].rpartition(":")[2] == config.otlp_endpoint.rpartition(":")[2]
    addresses = re.findall(r"\b(?:\d+\.){3}\d+(?=:\d)", operators_files.COLLECTOR.read_text(encoding="utf-8"))
    assert set(addresses) == {"127.0.0.1"}


def test_labels_of_the_target_are_no_labels_of_ours() -> None:
    assert not TARGET_LABELS & {label for metric in TABLE for label in metric.labels}
