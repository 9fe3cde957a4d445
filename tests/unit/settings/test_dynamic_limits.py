"""Each setting of decisions, batches and sub-workflows is the limit that it is named after."""

from __future__ import annotations

from dataclasses import asdict

from tasker_actors.settings import load_settings
from tasker_actors.workflow.dynamic_limits import DEFAULT_LIMITS

SETTINGS = {
    "decisions.max_steps": "max_steps",
    "decisions.max_depth": "max_depth",
    "batches.max_workers": "max_workers",
    "batches.max_checkpoint_bytes": "max_checkpoint_bytes",
    "batches.max_checkpoint_history": "max_checkpoint_history",
    "sub_workflows.max_tasks": "max_tasks",
    "sub_workflows.max_context_bytes": "max_context_bytes",
    "sub_workflows.max_depth": "max_task_depth",
}


def test_every_limit_has_a_setting_of_its_own():
    given = {
        setting: 10 + number if "bytes" not in setting else 2_000 + number for number, setting in enumerate(SETTINGS)
    }
    environ = {f"TASKER_{setting.upper().replace('.', '__')}": str(value) for setting, value in given.items()}

    limits = load_settings(environ=environ).dynamic_limits

    assert asdict(limits) == {limit: given[setting] for setting, limit in SETTINGS.items()}


def test_the_settings_file_says_them_too(tmp_path):
    file = tmp_path / "tasker.toml"
    file.write_text("[decisions]\nmax_steps = 3\n[batches]\nmax_workers = 4\n", encoding="utf-8")

    limits = load_settings(file, environ={}).dynamic_limits

    assert (limits.max_steps, limits.max_workers) == (3, 4)
    assert load_settings(environ={}).dynamic_limits == DEFAULT_LIMITS
