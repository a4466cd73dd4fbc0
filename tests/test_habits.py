"""What the project says of itself in several files is the same in all of them."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import skdne

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
LOWEST = runpy.run_path(str(ROOT / "tools/lowest.py"))
EXTRAS = PROJECT["optional-dependencies"]


def requirements(*extras):
    """Requirements of the package and of the extras, but for its own extras among them."""
    found = sum((EXTRAS[extra] for extra in extras), PROJECT["dependencies"])
    return [r for r in map(Requirement, found) if r.name != PROJECT["name"]]


def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_citation_is_of_this_version_and_of_the_papers_of_the_page():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == skdne.__version__
    assert citation["license"] == PROJECT["license"]
    page = (ROOT / "docs/cite.md").read_text(encoding="utf-8")
    titles = re.findall(r"^\s+title\s*= \{(.+)\}", page, re.MULTILINE)
    assert [paper["title"] for paper in citation["references"]] == titles
    assert len(titles) == 2


def test_a_commit_is_checked_as_make_lint_does():
    """The hook names no version of its own, so none can differ from constraints.txt."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    assert repository["repo"] == "local"
    (hook,) = repository["hooks"]
    assert hook["entry"] == "make lint"
    assert not hook["pass_filenames"]


def test_pythons_of_the_workflow_are_the_oldest_and_the_newest_declared():
    line = re.compile(r"Programming Language :: Python :: (3\.\d+)")
    declared = [m[1] for c in PROJECT["classifiers"] if (m := line.fullmatch(c))]
    matrix = WORKFLOW["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert matrix == [declared[0], declared[-1]]
    assert PROJECT["requires-python"] == f">={declared[0]}"


def test_the_workflow_only_calls_targets_of_the_makefile():
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    commands = {step["run"] for step in steps if "run" in step}
    assert commands == {"make lint", "make test", "make test-lowest", "make docs"}
    assert {command.removeprefix("make ") for command in commands} <= make_targets()
    assert WORKFLOW["permissions"] == {"contents": "read"}


def test_every_direct_dependency_is_pinned_within_its_bound():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    pins = {name.lower().replace("_", "-"): v for name, v in (line.split("==") for line in lines)}
    used = requirements(*(extra for extra in EXTRAS if extra != "bench"))  # no target installs that
    wrong = [str(r) for r in used if not r.specifier.contains(pins.get(r.name.lower(), "0"))]
    assert not [r.name for r in used if r.name.lower() not in pins]
    assert not wrong


def test_everything_that_the_tests_need_has_a_lowest_version():
    needed = requirements("plot", "progress", "http", "dicom", "erase", "test")
    lowest = {Requirement(line).name for line in LOWEST["lowest"](LOWEST["declared"]())}
    assert {r.name for r in needed} <= lowest


@pytest.mark.parametrize(
    ("requirement", "pin"),
    [
        ("numpy>=2.0", ["numpy==2.0"]),
        ("dask[array]>=2025.1", ["dask==2025.1"]),
        ("mlserver>=1.7; python_version < '3.13'", ["mlserver==1.7; python_version < '3.13'"]),
        ("skdne[plot]", []),
    ],
)
def test_the_lowest_version_of_a_requirement(requirement, pin):
    assert LOWEST["lowest"]([requirement]) == pin
