"""promtool, as operators use it, on what config/prometheus gives them."""

import subprocess

from support.operators_files import PROMETHEUS, RULE_FILES, RULE_TESTS
from support.prometheus import find_program


def promtool(*arguments):
    """Run promtool; returns what it said, and fails the test if it was not content."""
    done = subprocess.run(
        [find_program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_is_valid_with_all_its_rules():
    said = promtool("check", "config", "--lint=all", "--lint-fatal", PROMETHEUS / "prometheus.yml")
    assert f"{len(RULE_FILES)} rule files found" in said


def test_the_rules_are_valid():
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULE_FILES)
    assert said.count("SUCCESS") == len(RULE_FILES)


def test_alerts_fire_when_they_should_and_not_when_they_should_not():
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)
