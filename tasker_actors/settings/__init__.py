"""One configuration: frozen, validated once, passed down; nothing else reads files or environment variables for it."""

from tasker_actors.settings.database_url import redact_url
from tasker_actors.settings.http import HttpSettings
from tasker_actors.settings.load import (
    load_settings,
    masked,
    require_key_when_exposed,
    settings_from_json,
    settings_to_json,
)
from tasker_actors.settings.processes import LinkSettings, SupervisorSettings, WorkerSettings
from tasker_actors.settings.schedules import ScheduleSettings
from tasker_actors.settings.section import Section
from tasker_actors.settings.sections import (
    BatchSettings,
    CommitSettings,
    DatabaseSettings,
    DecisionSettings,
    EventBusSettings,
    EventSettings,
    HandlerSettings,
    LoggingSettings,
    MaintenanceSettings,
    NativeSettings,
    RetentionSettings,
    Settings,
    TelemetrySettings,
    TemplateSettings,
)
from tasker_actors.settings.sub_workflows import SubWorkflowSettings
from tasker_actors.settings.table import SettingRow, settings_table

__all__ = [
    "BatchSettings",
    "CommitSettings",
    "DatabaseSettings",
    "DecisionSettings",
    "EventBusSettings",
    "EventSettings",
    "HandlerSettings",
    "HttpSettings",
    "LinkSettings",
    "LoggingSettings",
    "MaintenanceSettings",
    "NativeSettings",
    "RetentionSettings",
    "ScheduleSettings",
    "Section",
    "SettingRow",
    "Settings",
    "SubWorkflowSettings",
    "SupervisorSettings",
    "TelemetrySettings",
    "TemplateSettings",
    "WorkerSettings",
    "load_settings",
    "masked",
    "redact_url",
    "require_key_when_exposed",
    "settings_from_json",
    "settings_table",
    "settings_to_json",
]
