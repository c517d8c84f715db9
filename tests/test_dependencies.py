"""What the project stands on: each package has a reason, and what is pinned has no known weakness (`.ci/run`)."""

from __future__ import annotations

import re
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
        ([UNKNOWN, UNKNOWN], 0, "NOTHING WAS AUDITED: of none of the 2 pinned packages"),
        ([], 0, "NOTHING WAS AUDITED"),
    ],
)
def test_an_audit_fails_on_what_it_finds_and_says_when_it_could_look_up_nothing(packages, status, said):
    found, lines = audit().verdict({"dependencies": packages})
    assert found == status
    assert said in "\n".join(lines)
