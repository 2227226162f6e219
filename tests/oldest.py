"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

`python tests/oldest.py > oldest.txt && pip install -c oldest.txt '.[test]'`
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def requirements(project):
    """All that a project asks for, in its extras too, but for extras of its own."""
    extras = project["optional-dependencies"].values()
    for requirement in (*project["dependencies"], *(one for extra in extras for one in extra)):
        if not requirement.startswith(f"{project['name']}["):
            yield requirement


def constraint(requirement):
    """`"name==1.0"` for `"name[extra]>=1.0"`; `ValueError` for one without its oldest version."""
    found = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?[>=]=([\w.]+)", requirement)
    if not found:
        raise ValueError(f"a requirement is `name>=oldest` or `name==only`, got {requirement!r}")
    return "{}=={}".format(*found.groups())


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    print(*map(constraint, requirements(project)), sep="\n")
