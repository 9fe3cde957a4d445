"""The fixtures, in a pytest of their own as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys

CONFTEST = 'pytest_plugins = ["tasker_actors.testing.fixtures"]\n'
TESTS = """
from support.payment import CODE, PAYMENT
from tasker_actors.testing import run_template


def test_with_a_clock(kit, clock):
    clock.advance(60)
    task = run_template(PAYMENT, {"amount": 1}, handlers=CODE, kit=kit)
    assert task.attempts[0].began_at == clock.now()


def test_strict(kit):
    kit.strict = True
    run_template(PAYMENT, {"amount": 1}, handlers=CODE, replace={"receipt": {}}, kit=kit)


def test_lenient(kit):
    run_template(PAYMENT, {"amount": 1}, handlers=CODE, replace={"receipt": {}}, kit=kit)
"""


def test_a_strict_kit_fails_the_test_that_leaves_surprises(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_payment.py").write_text(TESTS)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path, env=environment,
    )  # fmt: skip

    assert "3 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert "receipt, attempt 1: receipt.sent is a dead letter, schema_violation" in done.stdout
