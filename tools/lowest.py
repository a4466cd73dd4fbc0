"""Print the lowest declared version of each direct dependency, as constraints for pip.

``numpy>=2.0`` in pyproject.toml becomes ``numpy==2.0``. `make test-lowest` installs these and runs
the tests, so that a lower bound is a version that was tried, not one that was hoped for.
"""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
# A name, extras that a constraint may not have, the bound, and what else (a marker).
_BOUND = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?>=([\w.]+)(.*)")


def lowest(requirements: list[str]) -> list[str]:
    """Return ``name==version`` for each requirement of the form ``name>=version``."""
    return [f"{m[1]}=={m[2]}{m[3]}" for r in requirements if (m := _BOUND.fullmatch(r))]


def declared() -> list[str]:
    """Return the requirements of the package and of all its extras."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    return sum(project["optional-dependencies"].values(), project["dependencies"])


if __name__ == "__main__":
    print("\n".join(lowest(declared())))
