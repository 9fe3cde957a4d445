"""The interface to native code is what header and README say: both are compiled, loaded and called."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from support.native_code import EXAMPLES, WARNINGS, compiler
from support.readme_tables import ROOT, in_place

from tasker_actors.cli.template_check import check_templates
from tasker_actors.native.library import ABI_VERSION, NativeLibrary
from tasker_actors.native.reference import INTERFACE_PREFIX
from tasker_actors.settings import load_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEADER = (EXAMPLES / "tasker_native.h").read_text(encoding="utf-8")
FUNCTIONS = set(re.findall(rf"^\w+ ({INTERFACE_PREFIX}\w+)\(", HEADER, re.MULTILINE))
REQUIRED = {"tasker_abi_version", "tasker_init", "tasker_free"}


def block(name: str) -> str:
    """The text between the fences of a marked place in README."""
    return in_place(README, name).partition("\n")[2].rpartition("```")[0]


def test_the_header_is_c11_without_a_warning_and_may_be_included_twice(tmp_path: Path) -> None:
    source = tmp_path / "includes.c"
    source.write_text(
        '#include "tasker_native.h"\n#include "tasker_native.h"\n'
        "tasker_step_handler step; tasker_event_handler event; tasker_result result = {0, 0};\n"
        '_Static_assert(sizeof(tasker_result) == sizeof(char *) + sizeof(size_t), "no padding");\n',
        encoding="utf-8",
    )
    subprocess.run(
        [compiler(), *WARNINGS, "-pedantic", f"-I{EXAMPLES}", "-c", "-o", str(tmp_path / "includes.o"), str(source)],
        check=True,
        timeout=60,
    )


@pytest.mark.parametrize("source", sorted(EXAMPLES.glob("*.c")), ids=lambda path: path.name)
def test_an_example_is_c11_without_a_warning(source: Path, tmp_path: Path) -> None:
    subprocess.run(
        [compiler(), *WARNINGS, "-pedantic", "-Wconversion", "-c", "-o", str(tmp_path / "one.o"), str(source)],
        check=True,
        timeout=60,
    )


def test_what_readme_says_of_the_interface_is_in_the_header() -> None:
    section = README.partition("\n## Native code\n")[2].partition("\n## ")[0]
    prose = re.sub(r"^```.*?^```$", "", section, flags=re.DOTALL | re.MULTILINE)

    assert FUNCTIONS == REQUIRED
    assert set(re.findall(rf"`({INTERFACE_PREFIX}\w+)`", prose)) == REQUIRED
    for key in ("message", "error_type", "error_code", "retryable", "retry_after", "metadata"):
        assert f"`{key}`" in prose
        assert re.search(rf"\b{key}\b", HEADER), key


def test_the_build_the_template_and_the_settings_of_readme_fit_together(tmp_path: Path) -> None:
    compiler()
    script = block("native build").replace("-o ", f"-o {tmp_path}/")
    subprocess.run(["sh", "-e", "-c", script], cwd=ROOT, check=True, timeout=60)
    for source in re.findall(r"config/native/\w+\.c", block("native build")):
        comment = (ROOT / source).read_text(encoding="utf-8")
        assert any(line.replace("config/native/", "") in comment for line in block("native build").splitlines())

    template = tmp_path / "distance.yaml"
    template.write_text(block("native template"), encoding="utf-8")
    report = check_templates([template], environment="test", strict=True, modules=(), native_directory=tmp_path)
    assert report.is_valid, report.faults

    file = tmp_path / "settings.toml"
    file.write_text(block("native settings"), encoding="utf-8")
    (subscriber,) = load_settings(file, environ={}).native.subscribers
    handler = yaml.safe_load(block("native template"))["steps"][0]["handler"]["callable"].rpartition("#")[2]
    NativeLibrary(tmp_path / subscriber.library, b"{}").subscriber(subscriber.symbol)
    NativeLibrary(tmp_path / "great_circle.so", b"{}").handler(handler)


def test_the_rust_example_has_the_same_interface(tmp_path: Path) -> None:
    """Where there is a Rust compiler the example is built and called, too; no other test needs one."""
    code = block("native rust")
    exported = set(re.findall(r"#\[no_mangle\]\npub (?:unsafe )?extern \"C\" fn (\w+)", code))
    assert exported == {*REQUIRED, "measure", "on_event"}
    assert f"fn tasker_abi_version() -> u32 {{\n    {ABI_VERSION}\n}}" in code
    rustc = shutil.which("rustc")
    # One that is there may still be the front of a tool chain that is not.
    if rustc is not None and subprocess.run([rustc, "--version"], capture_output=True, check=False).returncode == 0:
        source, library = tmp_path / "measure.rs", tmp_path / "measure.so"
        source.write_text(code, encoding="utf-8")
        options = ("--edition", "2021", "--crate-type", "cdylib", "-D", "warnings")
        subprocess.run([rustc, *options, "-o", str(library), str(source)], check=True, timeout=100)
        loaded = NativeLibrary(library, b"{}")
        assert loaded.handler("measure")(b'{"a": 1}').data == b'{"bytes": 8}'
        assert loaded.subscriber("on_event")(b"{}") == 0
