"""The repository as a whole: what may stand at its top, how large its files are, what must not be in any of them."""

import ast
import re
import subprocess
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tasker_actors"
TOP = {
    ".ci", ".gitignore", "README.md", "config", "constraints.txt", "pyproject.toml", "scripts", "tasker_actors", "tests"
}  # fmt: skip
LONGEST_FILE = 350
# In two parts, so that this file has none of them.
REGISTRIES = ["files." + "pythonhosted", "pypi." + "org/simple", "registry." + "npmjs", "deb.debian" + ".org"]
INDEX_OPTION = "index" + "-url"
# A checkout right below one of these has a parent that ordinary text names too.
SHARED_PLACES = {Path("/"), Path("/tmp"), Path("/home"), Path("/srv"), Path("/opt"), Path("/root"), Path("/var")}  # noqa: S108 - names to compare with
ENVIRONMENT_READERS = {
    "settings",
    "telemetry/config.py",
    "supervision/run.py",  # hands it to the notifier of systemd, whose variable is no setting of ours
    "example/supervisor.py",  # hands it to the process that it starts
    "cli/concealment.py",  # hands it to this process again, with a password that was an argument
}


def repository_files():
    """Return the files that are or would be committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def package_modules():
    return sorted(path for path in PACKAGE.rglob("*.py"))


def lines_with(files, pattern):
    """Return `file:line: text` for each line that has the pattern."""
    found = []
    for path in files:
        text = path.read_bytes().decode(errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if re.search(pattern, line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    return found


def parsed(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def top_level_modules():
    """Return the names right below the package, such as `tasker_actors.events`."""
    paths = [path for path in PACKAGE.iterdir() if (path.suffix == ".py" or (path / "__init__.py").exists())]
    return {f"tasker_actors.{path.stem}" for path in paths if path.name not in ("__init__.py", "__main__.py")}


def contracts():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    return {contract["id"]: contract for contract in tools["importlinter"]["contracts"]}


def test_the_top_of_the_repository_is_fixed():
    assert {path.relative_to(ROOT).parts[0] for path in repository_files()} <= TOP


def test_no_registry_and_no_index_is_named():
    pattern = "|".join(map(re.escape, [*REGISTRIES, INDEX_OPTION]))
    assert lines_with(repository_files(), pattern) == []


def test_no_path_of_this_machine_is_in_a_file():
    places = {place for place in (ROOT.parent, Path.home()) if place not in SHARED_PLACES or place == Path("/root")}
    pattern = "|".join(re.escape(f"{place}/") for place in places)
    assert not pattern or lines_with(repository_files(), rf"(?<![\w.])({pattern})") == []


def test_files_of_the_package_fit_in_the_head():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in package_modules()
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_tests_wait_for_conditions_and_do_not_sleep():
    """Handlers that a test writes into a project of its own may sleep: they are text here."""
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(parsed(path)):
            is_call = isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.sleep", "sleep")
            if is_call:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_no_exception_is_swallowed_in_silence():
    found = []
    for path in package_modules():
        for node in ast.walk(parsed(path)):
            broad = isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))
            )
            if broad and all(isinstance(statement, ast.Pass) for statement in node.body):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert found == []


def test_only_settings_and_telemetry_configuration_read_the_environment():
    readers = []
    for path in package_modules():
        name = path.relative_to(PACKAGE).as_posix()
        if name in ENVIRONMENT_READERS or path.relative_to(PACKAGE).parts[0] in ENVIRONMENT_READERS:
            continue
        readers += [
            f"{name}:{node.lineno}"
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Attribute)
            and node.attr in ("environ", "getenv")
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        ]
    assert readers == []


def comments(path):
    """Yield line number and text of each comment; what is in a string is none."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def test_every_exception_from_a_check_has_its_reason_beside_it():
    with_reason = re.compile(r"# (noqa: [A-Z0-9]+(, [A-Z0-9]+)*|type: ignore\[[a-z, -]+\])( - | #? ?)\S.{4}")
    files = [path for path in repository_files() if path.suffix == ".py"]
    exceptions = [
        (f"{path.relative_to(ROOT)}:{number}", text)
        for path in files
        for number, text in comments(path)
        if re.match(r"#\s*(noqa|type:\s*ignore)", text)
    ]
    assert len(exceptions) > 100  # they are found
    assert [f"{place}: {text}" for place, text in exceptions if not with_reason.match(text)] == []


def test_every_rule_that_is_left_out_has_its_reason_beside_it():
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    first = lines.index("[tool.ruff.lint]")
    ends = [number for number, line in enumerate(lines) if line.startswith("[") and "ruff" not in line]
    rules = [
        line
        for line in lines[first : min(end for end in ends if end > first)]
        if re.match(r'\s+"[A-Z]+\d*",|"tests/.*= \["', line)
    ]
    assert len(rules) > 10
    assert [line for line in rules if not re.search(r"#\s+\S.{4}", line)] == []


def test_nothing_is_left_unfinished():
    files = [*package_modules(), *(ROOT / "scripts").iterdir()]
    assert lines_with(files, "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", r"raise NotImplemented" + "Error"])) == []


@pytest.mark.parametrize(
    ("contract", "allowed"),
    [
        ("database", {"postgres"}),
        ("actor-library", {"actors", "pipeline"}),
        ("web-framework", {"web"}),
        ("terminal", {"cli"}),
    ],
)
def test_an_import_contract_leaves_out_nothing_but_its_owner(contract, allowed):
    sources = set(contracts()[contract]["source_modules"])
    assert sources == top_level_modules() - {f"tasker_actors.{name}" for name in allowed}


def test_every_part_of_the_package_has_its_layer():
    layered = {name.strip() for layer in contracts()["layers"]["layers"] for name in re.split(r"[:|]", layer)}
    assert layered == top_level_modules()


def test_the_rules_are_kept_pure_by_contract():
    pure = contracts()["pure"]
    assert {"tasker_actors.workflow", "tasker_actors.events"} <= set(pure["source_modules"])
    assert {"pykka", "psycopg", "opentelemetry", "prometheus_client", "structlog"} <= set(pure["forbidden_modules"])
    assert "allow_indirect_imports" not in pure


def test_constraints_name_exact_versions_of_every_dependency():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line for line in lines if not line.startswith("#")]
    assert [line for line in pinned if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9A-Za-z.+!]+", line)] == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in pinned}
    missing = {re.sub(r"[-_.]+", "-", re.split(r"[\[<>=;! ]", want)[0]).lower() for want in wanted} - names
    assert missing == set()


def test_scripts_can_be_run():
    for path in [*(ROOT / "scripts").iterdir(), ROOT / ".ci" / "run"]:
        assert path.stat().st_mode & 0o111, f"{path} has no run bit"
        subprocess.run(["sh", "-n", path], check=True)


def test_unit_tests_mirror_the_package():
    folders = {
        path.parent.relative_to(ROOT / "tests" / "unit") for path in (ROOT / "tests" / "unit").rglob("test_*.py")
    }
    assert [str(folder) for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []
