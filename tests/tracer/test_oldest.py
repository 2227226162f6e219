"""The oldest versions that are tested are those that pyproject.toml names."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))
import oldest


def test_lower_bounds_become_constraints():
    project = {
        "name": "own",
        "dependencies": ["numpy>=2.0"],
        "optional-dependencies": {
            "cuda": ["cupy-cuda12x[ctk]>=14"],
            "lint": ["own[cuda]", "ruff==0.17.6"],
        },
    }
    found = [oldest.constraint(requirement) for requirement in oldest.requirements(project)]
    assert found == ["numpy==2.0", "cupy-cuda12x==14", "ruff==0.17.6"]


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy>=2,<3", "numpy>=2; extra"])
def test_a_requirement_names_its_oldest_version(requirement):
    with pytest.raises(ValueError, match="oldest"):
        oldest.constraint(requirement)


def test_every_requirement_of_this_project_does():
    command = [sys.executable, oldest.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert "numpy==2.0" in lines
    assert len(lines) == len({line.partition("==")[0] for line in lines})
