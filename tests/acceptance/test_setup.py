"""scripts/setup on a small project that needs no network: what an interrupted run leaves is no obstacle."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
# The least that pip takes for an editable project.
BACKEND = """
import zipfile

METADATA = "Metadata-Version: 2.1\\nName: small\\nVersion: 1.0\\nProvides-Extra: dev\\n"
WHEEL = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"


def build_editable(directory, config_settings=None, metadata_directory=None):
    name = "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{directory}/{name}", "w") as wheel:
        for file, text in {"METADATA": METADATA, "WHEEL": WHEEL, "RECORD": ""}.items():
            wheel.writestr(f"small-1.0.dist-info/{file}", text)
    return name


build_wheel = build_editable
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "constraints.txt").touch()
    return tmp_path


def set_up(project, python=sys.executable):
    command = [project / "scripts" / "setup"]
    environment = {**os.environ, "PYTHON": str(python)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def is_installed(project):
    return list(project.glob(".venv/lib/*/site-packages/small-1.0.dist-info")) != []


@pytest.mark.timeout(400)  # it makes two environments, which reads and writes thousands of files
def test_a_set_up_that_was_interrupted_is_repaired_by_the_next_one(project):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", project / ".venv"], check=True)
    first = set_up(project)
    assert first.returncode == 0, first.stderr
    assert is_installed(project)

    # A package of which half is there: pip believes its name.
    marker = project / ".venv" / "half"
    marker.touch()
    (project / ".venv" / "setup").rename(project / ".venv" / "setup-unfinished")
    second = set_up(project)
    assert second.returncode == 0, second.stderr
    assert not marker.exists()
    assert is_installed(project)

    third = set_up(project)
    assert (third.returncode, third.stderr) == (0, "")


def test_an_interpreter_that_is_none_is_named_and_nothing_is_made(project):
    done = set_up(project, python=project / "python9")
    assert done.returncode == 1
    assert f"PYTHON={project}/python9 is no Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (project / ".venv").exists()
