"""What the project stands on: each package has a reason, and what is pinned has no known weakness (`.ci/run`)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def name_of(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    assert found
    return found.group(0).lower().replace("_", "-")


def test_every_dependency_has_a_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    wanted += [one for name, several in extras.items() if name != "all" for one in several]
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Dependencies")[1].split("\n## ")[0]
    told = {
        word.lower()
        for line in section.splitlines()
        if line.startswith("| ")
        for word in re.findall(r"[\w.-]+", line.split("|")[1])
    }
    assert {name_of(one) for one in wanted} <= told


def test_what_is_asked_for_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for lock, groups in (
        ("requirements.lock", [project["project"]["dependencies"]]),
        ("requirements-dev.lock", [project["project"]["dependencies"], project["dependency-groups"]["dev"]]),
    ):
        pinned = {
            name_of(line) for line in (ROOT / lock).read_text().splitlines() if "==" in line and line[0].isalnum()
        }
        assert {name_of(one) for group in groups for one in group} <= pinned, lock


def audit():
    """The program as a module."""
    loader = SourceFileLoader("audit", str(ROOT / "scripts" / "audit"))
    spec = spec_from_loader("audit", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


KNOWN = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"], "description": "oh"}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (3)"}


@pytest.mark.parametrize(
    ("packages", "status", "said"),
    [
        ([KNOWN, KNOWN], 0, "2 of 2 pinned packages audited, 0 with a known weakness."),
        ([KNOWN, WEAK], 1, "b 2: PYSEC-1, mended in 2.1"),
        ([WEAK, UNKNOWN], 1, "1 of 2 pinned packages audited, 1 with"),
        ([KNOWN, UNKNOWN], 1, "c: Dependency not found"),
        ([UNKNOWN, UNKNOWN], 1, "NOTHING WAS AUDITED: of none of the 2 pinned packages"),
        ([], 1, "That is a failure."),
    ],
)
def test_an_audit_fails_on_what_it_finds_and_says_when_it_could_look_up_nothing(packages, status, said):
    found, lines = audit().verdict({"dependencies": packages})
    assert found == status
    assert said in "\n".join(lines)


@pytest.mark.parametrize(("packages", "status"), [([UNKNOWN], 0), ([], 0), ([WEAK, UNKNOWN], 1), ([KNOWN, UNKNOWN], 1)])
def test_only_that_nothing_could_be_looked_up_can_be_allowed(packages, status):
    found, lines = audit().verdict({"dependencies": packages}, allow_unaudited=True)
    assert found == status
    assert ("allowed here (--allow-unaudited)" in "\n".join(lines)) is (status == 0)


def test_the_audit_lists_native_libraries_inside_wheels():
    done = subprocess.run([sys.executable, "-P", "-c", audit().NATIVE], capture_output=True, text=True, check=True)
    lines = audit().native(json.loads(done.stdout))
    (of_av,) = [line for line in lines if line.startswith("av brings ")]
    assert re.search(r"FFmpeg \d+\.\d+", of_av)
    for name in ("OpenSSL", "SQLite", "ONNX Runtime", "CTranslate2"):
        assert re.search(rf"{name} \d+\.\d+", "\n".join(lines)), name
    if sys.platform.startswith("linux"):  # where wheels bring their libraries in files of their own
        assert re.search(r"avcodec \d+\.\d+", of_av)
        assert re.search(r"opus \d+", of_av)


LOCKS = (
    "requirements.lock", "requirements-cluster.lock", "requirements-dev.lock", "requirements-build.lock",
    "requirements-llama.lock",
)  # fmt: skip


@pytest.mark.parametrize("lock", LOCKS)
def test_each_pinned_package_has_its_hashes(lock):
    text = (ROOT / lock).read_text().replace("\\\n", " ")
    pins = [line for line in text.splitlines() if line and line[0].isalnum()]
    assert pins
    for pin in pins:
        assert re.match(r"[\w.-]+==\S+ ", pin), pin
        # A wheel for each platform, or a wheel and a source: of no package one file only is allowed by chance.
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", pin), pin


def test_nothing_is_installed_without_its_hash():
    for script in ("scripts/setup", ".ci/run"):
        for line in (ROOT / script).read_text().splitlines():
            if re.match(r"(install|.*pip install) ", line) and "--no-deps --no-build-isolation -e ." not in line:
                assert "--require-hashes" in line or "$quiet" in line or line.rstrip().endswith("pip >&2 ||"), line
