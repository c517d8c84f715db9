"""The shell programs around the command: what they run, in which order, and when they run nothing.

In each test the programs are copies in a repository of their own, where Python and all tools are shell scripts that
write down how they were called. Nothing is downloaded.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"

SOURCES = ("pyproject.toml", "requirements.lock", "requirements-dev.lock", "requirements-build.lock")

PYTHON = """#!/bin/sh
# A Python that makes virtual environments with itself in them, and installs nothing.
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
  "-m venv --without-pip "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
  "-m venv "*) [ -z "${NO_ENSUREPIP-}" ] || exit 1; mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip "*install*) [ -z "${PIP_FAILS-}" ] || exit 23 ;;
  "--version") echo "Python 3.99" ;;
esac
"""

TOOL = """#!/bin/sh
# A tool that writes down how it was called, and fails if it is told to.
echo "$(basename "$0") $*" >>"$CALLS"
echo "$(basename "$0") says hello"
for arg; do case $arg in --junitxml=*) printf '%s' "${REPORT-}" >"${arg#*=}" ;; esac; done
[ "${FAILS-}" != "$(basename "$0")" ] || exit 7
"""


class Repository:
    """A repository with copies of the programs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.stamp = self.venv / ".convo-setup"
        self.running = self.venv / ".convo-setup-runs"
        self.log = root / "calls"
        self.python = root / "python"
        (root / "scripts").mkdir()
        for name in ("setup", "demo", "test"):
            shutil.copy(SCRIPTS / name, root / "scripts" / name)
        for name in SOURCES:
            (root / name).write_text(name)
        self.program(self.python, PYTHON)

    def program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def run(self, name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {"PATH": os.environ["PATH"], "CALLS": str(self.log), "CONVO_PYTHON": str(self.python)} | environment
        settings = {key: value for key, value in settings.items() if value}
        command = ["sh", str(self.root / "scripts" / name), *words]
        return subprocess.run(command, env=settings, capture_output=True, text=True, timeout=60)

    def calls(self, *, about: str = "") -> list[str]:
        """What was called since the last time one asked."""
        calls = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return [call for call in calls if about in call]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "a clone").mkdir()
    return Repository(tmp_path / "a clone")


# --- setup ------------------------------------------------------------------------------------------------


def installed(repository: Repository) -> list[str]:
    """The lock files and the package that pip was given, in order."""
    return [call.split()[-1] for call in repository.calls(about="pip install")]


def test_set_up_once(repository: Repository) -> None:
    first = repository.run("setup")
    assert (first.returncode, first.stdout) == (0, "")
    assert "Set up: .venv is ready." in first.stderr
    assert installed(repository) == ["requirements.lock", "requirements-build.lock", "."]
    second = repository.run("setup")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert repository.calls() == []


def test_dev_after_a_plain_run_adds_and_a_plain_run_after_dev_does_nothing(repository: Repository) -> None:
    repository.run("setup")
    installed(repository)
    assert repository.run("setup", "--dev").returncode == 0
    assert installed(repository) == ["requirements-dev.lock", "requirements-build.lock", "."]
    for words in ([], ["--dev"]):
        assert repository.run("setup", *words).returncode == 0
        assert repository.calls() == []


@pytest.mark.parametrize("name", SOURCES)
def test_what_it_was_made_from_changed(repository: Repository, name: str) -> None:
    repository.run("setup")
    (repository.venv / "kept").touch()
    (repository.root / name).write_text("changed")
    repository.calls()
    repository.run("setup")
    assert installed(repository) == ["requirements.lock", "requirements-build.lock", "."]
    assert (repository.venv / "kept").exists()


def test_one_that_was_interrupted_is_done_over(repository: Repository) -> None:
    assert repository.run("setup", PIP_FAILS="1").returncode != 0
    assert repository.running.exists()
    assert not repository.stamp.exists()
    (repository.venv / "half").touch()
    repository.calls()
    assert repository.run("setup").returncode == 0
    assert installed(repository) == ["requirements.lock", "requirements-build.lock", "."]
    assert not (repository.venv / "half").exists()
    assert not repository.running.exists()


def test_when_pip_fails(repository: Repository) -> None:
    done = repository.run("setup", PIP_FAILS="1")
    assert done.returncode == 1
    assert "pip could not install everything" in done.stderr
    assert "ready" not in done.stderr


def test_a_clone_that_was_moved(repository: Repository, tmp_path: Path) -> None:
    repository.run("setup")
    (repository.venv / "old").touch()
    moved = tmp_path / "elsewhere"
    repository.root.rename(moved)
    done = subprocess.run(
        ["sh", str(moved / "scripts" / "setup")],
        env={"PATH": os.environ["PATH"], "CALLS": str(tmp_path / "calls"), "CONVO_PYTHON": str(moved / "python")},
    )
    assert done.returncode == 0
    assert not (moved / ".venv" / "old").exists()


def test_another_interpreter(repository: Repository) -> None:
    repository.run("setup")
    (repository.venv / "old").touch()
    other = repository.root / "other-python"
    repository.program(other, PYTHON)
    repository.run("setup", CONVO_PYTHON=str(other))
    assert not (repository.venv / "old").exists()
    repository.calls()
    repository.run("setup", CONVO_PYTHON="")
    assert repository.calls() == []  # nobody asked for another one


def test_a_virtual_environment_that_somebody_else_made_is_kept(repository: Repository) -> None:
    repository.program(repository.venv / "bin" / "python", PYTHON)
    (repository.venv / "kept").touch()
    assert repository.run("setup").returncode == 0
    assert (repository.venv / "kept").exists()


def test_without_ensurepip_the_systems_pip_helps(repository: Repository) -> None:
    assert repository.run("setup", NO_ENSUREPIP="1").returncode == 0
    calls = repository.calls()
    assert any(call.startswith("python -m venv --without-pip") for call in calls)
    assert any(call.startswith("python -m pip --python") for call in calls)


def test_the_first_python_that_runs(repository: Repository, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    for name in ("python3.13", "python3.12", "python3"):
        repository.program(programs / name, "#!/bin/sh\nexit 127\n")
    repository.program(programs / "python3.11", PYTHON)
    path = f"{programs}:{os.environ['PATH']}"
    assert repository.run("setup", CONVO_PYTHON="", PATH=path).returncode == 0
    assert any(call.startswith("python3.11 -m venv") for call in repository.calls())


def test_no_python(repository: Repository) -> None:
    done = repository.run("setup", CONVO_PYTHON="/nowhere/python")
    assert done.returncode == 1
    assert "CONVO_PYTHON=/nowhere/python is no Python 3.11 or newer" in done.stderr
    assert not repository.venv.exists()


def test_setup_help_and_a_wrong_word(repository: Repository) -> None:
    assert "scripts/setup --dev" in repository.run("setup", "--help").stdout
    assert repository.run("setup", "--all").returncode == 2


# --- test -------------------------------------------------------------------------------------------------


@pytest.fixture
def tools(repository: Repository) -> Repository:
    """A repository that is set up, and whose tools write down how they were called."""
    repository.program(repository.root / "scripts" / "setup", '#!/bin/sh\necho "setup $*" >>"$CALLS"\n')
    for name in ("ruff", "mypy", "lint-imports", "pytest"):
        repository.program(repository.venv / "bin" / name, TOOL)
    return repository


def test_all_stages_in_order(tools: Repository) -> None:
    done = tools.run("test", "tests/cli", "-k", "two words")
    assert done.returncode == 0
    assert [call.split()[0] for call in tools.calls()] == ["setup", "ruff", "ruff", "mypy", "lint-imports", "pytest"]
    assert done.stdout.splitlines()[-1] == "pytest says hello"
    assert done.stdout.count("=== ") == 5


def test_arguments_go_to_pytest(tools: Repository) -> None:
    tools.run("test", "tests/cli", "-k", "two words")
    last = tools.calls()[-1]
    assert re.match(r"pytest --numprocesses [2-4] ", last)
    assert last.endswith(" tests/cli -k two words")  # behind our own: later ones have the last word


@pytest.mark.parametrize(("stage", "calls"), [("ruff", 2), ("mypy", 4), ("lint-imports", 5), ("pytest", 6)])
@pytest.mark.parametrize("words", [[], ["--fail-on-skip"]])
def test_the_first_stage_that_fails_is_the_last(tools: Repository, stage: str, calls: int, words: list[str]) -> None:
    done = tools.run("test", *words, FAILS=stage)
    assert done.returncode == 7
    assert len(tools.calls()) == calls
    assert done.stdout.splitlines()[-1] == f"{stage} says hello"


@pytest.mark.parametrize(
    ("report", "code"),
    [
        ('<testsuite skipped="0"><testcase/></testsuite>', 0),
        ('<testcase><skipped type="pytest.xfail" message="" /></testcase>', 0),
        ('<testcase><skipped type="pytest.skip" message="a &gt; b">why</skipped></testcase>', 1),
        ('<testcase><skipped message="collection skipped">why</skipped></testcase>', 1),
        ('<skipped type="pytest.xfail" message="" /><skipped type="pytest.skip" message="x">why</skipped>', 1),
    ],
)
def test_a_skipped_test_is_a_failure_where_it_is_wanted_to_be(tools: Repository, report: str, code: int) -> None:
    done = tools.run("test", "--fail-on-skip", "-q", REPORT=report)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == "pytest says hello"
    assert "--fail-on-skip" not in tools.calls()[-1]
    assert tools.run("test", REPORT=report).returncode == 0


# --- demo -------------------------------------------------------------------------------------------------


def test_the_demo_sets_up_and_plays_the_sample(tools: Repository) -> None:
    tools.program(tools.venv / "bin" / "python", TOOL)
    assert tools.run("demo", "--fast").returncode == 0
    sample = tools.root / "tests" / "data" / "talk.flac"
    assert tools.calls() == ["setup ", f"python -m convo_cli.demo --sample {sample} --fast"]
