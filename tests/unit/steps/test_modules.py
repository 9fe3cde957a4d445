import sys
from textwrap import dedent

import pytest

from tasker_actors.errors import StartupError
from tasker_actors.steps.modules import import_modules


@pytest.fixture
def working_directory(tmp_path, monkeypatch):
    """A working directory that is not on sys.path yet; what tests import from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(directory, name, source):
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(source))


def test_modules_come_from_the_working_directory_each_once(working_directory):
    write(working_directory, "kit_one.py", "VALUE = 1")
    write(working_directory, "kit_pack/__init__.py", "")
    write(working_directory, "kit_pack/inner.py", "import kit_one")

    modules = import_modules(["kit_pack.inner", "kit_one", "kit_pack.inner"])

    assert [module.__name__ for module in modules] == ["kit_pack.inner", "kit_one"]
    assert sys.path[0] == str(working_directory)
    import_modules(["kit_one"])
    assert sys.path.count(str(working_directory)) == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("\n\n1 / 0", "ZeroDivisionError: division by zero"),
        ("def (:", "SyntaxError"),
        ("import sys; sys.exit(3)", r"it called sys.exit\(\)"),
    ],
)
def test_a_module_that_fails_is_named_with_the_reason(working_directory, source, reason):
    write(working_directory, "kit_broken.py", source)

    with pytest.raises(StartupError, match=f"cannot import module 'kit_broken': {reason}"):
        import_modules(["kit_broken"])


def test_the_error_says_in_which_line_the_module_failed(working_directory):
    write(working_directory, "kit_broken.py", "a = 1\nb = a / 0\n")

    with pytest.raises(StartupError, match=r"kit_broken\.py, line 2\)"):
        import_modules(["kit_broken"])


def test_a_module_for_tasker_py_is_told_what_to_name_before_it(working_directory):
    write(working_directory, "kit_theirs.py", "from tasker_core.errors import PermanentError")

    with pytest.raises(StartupError, match=r"line 1\); .* name tasker_actors\.compat\.alias in --handlers before it"):
        import_modules(["kit_theirs"])


@pytest.mark.parametrize("name", ["kit_absent", "kit_absent.inner"])
def test_a_module_that_is_not_there_says_where_it_was_looked_for(working_directory, name):
    with pytest.raises(StartupError) as raised:
        import_modules([name])

    assert f"there is no module 'kit_absent' in {working_directory}" in str(raised.value)


@pytest.mark.parametrize("name", ["./my/handlers.py", "a b", "", ".relative", "1st"])
def test_a_name_that_is_no_dotted_name_is_refused(working_directory, name):
    with pytest.raises(StartupError, match="is not the dotted name of a module"):
        import_modules([name])


@pytest.mark.parametrize(("name", "dotted"), [("handlers.py", "handlers"), ("./my/handlers.py", "my.handlers")])
def test_the_name_of_a_file_is_answered_with_the_modules(working_directory, name, dotted):
    with pytest.raises(StartupError, match=f"write '{dotted}' for that file"):
        import_modules([name])


def test_an_interrupt_stays_an_interrupt(working_directory):
    write(working_directory, "kit_interrupted.py", "raise KeyboardInterrupt")

    with pytest.raises(KeyboardInterrupt):
        import_modules(["kit_interrupted"])
