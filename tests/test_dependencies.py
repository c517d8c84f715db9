"""What the project stands on: each package has a reason, and what is pinned has no known weakness (`.ci/run`)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

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
