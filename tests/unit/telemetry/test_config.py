"""Telemetry from environment variables (SPEC 4.1)."""

import dataclasses
from importlib.metadata import version

import pytest

from tasker_actors.errors import ConfigurationError
from tasker_actors.telemetry.config import (
    BatchLogRecords,
    BatchSpans,
    EarlyRecordLimits,
    LogFormat,
    LogLevel,
    OtlpProtocol,
    TelemetryConfig,
)

read = TelemetryConfig.from_environ


def test_the_defaults_of_the_specification():
    assert read({}) == TelemetryConfig(
        enabled=False,
        otlp_endpoint="http://localhost:4317",
        otlp_protocol=OtlpProtocol.GRPC,
        otlp_headers={},
        otlp_timeout_s=10.0,
        otlp_certificate=None,
        service_name="tasker-actors",
        service_version=version("tasker-actors"),
        environment="development",
        sampling_ratio=1.0,
        logs_enabled=False,
        resource_attributes={},
        batch_spans=BatchSpans(5000, 30000, 32768, 4096),
        batch_log_records=BatchLogRecords(8192, 512),
        early_records=EarlyRecordLimits(1000, 16384),
        metric_export_interval_ms=60000,
        sdk_disabled=False,
        log_level=LogLevel.DEBUG,
        log_format=None,
    )


def test_every_variable_is_read():
    config = read(
        {
            "TELEMETRY_ENABLED": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector:443/base",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_EXPORTER_OTLP_HEADERS": "API-Key=a%20b, x=1=2,",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "2.5",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/ca.pem",
            "OTEL_SERVICE_NAME": "flights",
            "OTEL_SERVICE_VERSION": "2.0",
            "DEPLOYMENT_ENVIRONMENT": "staging",
            "TASKER_ENV": "production",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_LOGS_ENABLED": "1",
            "OTEL_RESOURCE_ATTRIBUTES": "team=ops,region=eu%2Dwest",
            "OTEL_SDK_DISABLED": "TRUE",
            "OTEL_BSP_SCHEDULE_DELAY": "1",
            "OTEL_BSP_EXPORT_TIMEOUT": "2",
            "OTEL_BSP_MAX_QUEUE_SIZE": "4",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "3",
            "OTEL_BLRP_MAX_QUEUE_SIZE": "6",
            "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "5",
            "LOG_EARLY_RECORDS": "7",
            "LOG_EARLY_RECORD_BYTES": "8",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
            "LOG_LEVEL": "WARN",
            "LOG_FORMAT": "Json",
        }
    )
    assert config == TelemetryConfig(
        enabled=True,
        otlp_endpoint="https://collector:443/base",
        otlp_protocol=OtlpProtocol.HTTP_PROTOBUF,
        otlp_headers={"api-key": "a b", "x": "1=2"},
        otlp_timeout_s=2.5,
        otlp_certificate="/etc/ca.pem",
        service_name="flights",
        service_version="2.0",
        environment="staging",
        sampling_ratio=0.25,
        logs_enabled=True,
        resource_attributes={"team": "ops", "region": "eu-west"},
        batch_spans=BatchSpans(1, 2, 4, 3),
        batch_log_records=BatchLogRecords(6, 5),
        early_records=EarlyRecordLimits(7, 8),
        metric_export_interval_ms=500,
        sdk_disabled=True,
        log_level=LogLevel.WARNING,
        log_format=LogFormat.JSON,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TELEMETRY_ENABLED", "maybe"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:99999"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://host:port"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a b"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a\nb"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "no-value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=x"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0d%0aevil: 1"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%ff"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=é"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ("OTEL_SERVICE_NAME", "a\x00b"),
        ("OTEL_SERVICE_VERSION", "\udcff"),
        ("DEPLOYMENT_ENVIRONMENT", "a\tb"),
        ("TASKER_ENV", "a\x1bb"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
        ("OTEL_TRACES_SAMPLER_ARG", "-0.1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_LOGS_ENABLED", "2"),
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "0"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "-1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1.5"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1_000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32769"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "8193"),
        ("LOG_EARLY_RECORDS", "few"),
        ("LOG_EARLY_RECORD_BYTES", "-1"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "inf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "a\x00b"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_a_value_that_cannot_be_read_is_an_error_that_names_the_variable(name, value):
    with pytest.raises(ConfigurationError, match=rf"^{name}\b") as raised:
        read({name: value})
    assert raised.value.exit_code == 2
    assert str(raised.value).isprintable()


def test_a_small_queue_bounds_the_default_batch():
    assert read({"OTEL_BSP_MAX_QUEUE_SIZE": "512"}).batch_spans == BatchSpans(5000, 30000, 512, 512)
    assert read({"OTEL_BLRP_MAX_QUEUE_SIZE": "12"}).batch_log_records == BatchLogRecords(12, 12)


def test_all_faults_are_told_at_once():
    with pytest.raises(ConfigurationError) as raised:
        read({"LOG_LEVEL": "loud", "TELEMETRY_ENABLED": "maybe", "LOG_FORMAT": "json"})
    assert [line.partition("=")[0] for line in str(raised.value).splitlines()] == ["TELEMETRY_ENABLED", "LOG_LEVEL"]


def test_an_error_shows_no_secret():
    for environ in (
        {"OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2,broken-hunter2"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "grpc://user:hunter2@collector"},
    ):
        with pytest.raises(ConfigurationError) as raised:
            read(environ)
        assert "hunter2" not in str(raised.value)
    assert "hunter2" not in repr(read({"OTEL_EXPORTER_OTLP_HEADERS": "authorization=hunter2"}))


@pytest.mark.parametrize("name", ["TELEMETRY_ENABLED", "LOG_LEVEL", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME"])
def test_an_empty_variable_is_unset(name):
    assert read({name: " "}) == read({})


@pytest.mark.parametrize(
    ("environ", "environment", "level"),
    [
        ({}, "development", LogLevel.DEBUG),
        ({"TASKER_ENV": "test"}, "test", LogLevel.DEBUG),
        ({"TASKER_ENV": "production"}, "production", LogLevel.INFO),
        ({"TASKER_ENV": "production", "DEPLOYMENT_ENVIRONMENT": "development"}, "development", LogLevel.DEBUG),
        ({"TASKER_ENV": "production", "LOG_LEVEL": "error"}, "production", LogLevel.ERROR),
        ({"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=qa"}, "qa", LogLevel.INFO),
    ],
)
def test_the_environment_and_the_level_that_follows_from_it(environ, environment, level):
    config = read(environ)
    assert (config.environment, config.log_level) == (environment, level)


def test_resource_attributes_name_the_service_unless_its_variable_does():
    attributes = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,service.version=9"}
    assert (read(attributes).service_name, read(attributes).service_version) == ("a", "9")
    assert read(attributes | {"OTEL_SERVICE_NAME": "b"}).service_name == "b"


def test_the_default_endpoint_is_the_protocols_port():
    assert read({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}).otlp_endpoint == "http://localhost:4318"


def test_the_process_environment_is_read_by_default(monkeypatch):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-the-process")
    assert read().service_name == "from-the-process"


def test_a_configuration_cannot_be_changed():
    config = read({"OTEL_RESOURCE_ATTRIBUTES": "a=b"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.enabled = True
    with pytest.raises(TypeError):
        config.resource_attributes["a"] = "c"
