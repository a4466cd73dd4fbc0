"""``help()`` of every public name is complete, and the API reference lists it."""

import importlib
import inspect
import re
import types
from pathlib import Path

import pytest
from numpydoc.docscrape import FunctionDoc
from numpydoc.validate import validate

from skdne import NoiseSolver

PACKAGES = ["skdne", "skdne.encoders", "skdne.solvers", "skdne.metrics", "skdne.audit"]
PACKAGES += ["skdne.baselines", "skdne.datasets"]
CHECKS = {
    "GL08": "no docstring",
    "SS01": "no summary",
    "SS03": "the summary does not end with a period",
    "SS06": "the summary is longer than a line",
    "PR01": "a parameter is not documented",
    "PR02": "a documented parameter does not exist",
    "PR04": "a parameter has no type",
    "RT01": "no Returns section",
    "YD01": "no Yields section",
}
MADE_BY_CLASSMETHODS = {"skdne.audit.FairnessAudit"}  # its constructor is not for users
# Required, with a default only so that what is missing gets an error of its own.
REQUIRED = {"sensitive_features"}


def public_names():
    """Full name of each public object, once, and of the public methods that its class defines."""
    seen, names = set(), []
    for package in map(importlib.import_module, PACKAGES):
        for name in package.__all__:
            found = inspect.unwrap(getattr(package, name))
            if id(found) in seen or not (inspect.isclass(found) or inspect.isroutine(found)):
                continue
            seen.add(id(found))
            names.append(f"{package.__name__}.{name}")
            if inspect.isclass(found):
                names += [f"{names[-1]}.{method}" for method in methods(found)]
    return names


def methods(cls):
    """Public methods that a class defines; one without a text has that of its base class."""
    if issubclass(cls, NoiseSolver):
        return []  # what a fit calls, not a user
    kinds = (classmethod, staticmethod, types.FunctionType)
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and isinstance(value, kinds)
        and (value.__doc__ or not inspect.getdoc(getattr(cls, name)))
    ]


def shared(doc, message):
    """Whether a parameter without a type says where it is described: "See :class:`Adam`."."""
    name = re.search(r'"(.*)"', message)
    return any(
        name[1] in map(str.strip, p.name.split(","))
        and re.search("[Ss]ee :(class|meth):", " ".join(p.desc))
        for p in doc["Parameters"]
    )


def problems(name):
    result = validate(name)
    doc = FunctionDoc(None, doc=result["docstring"] or "")
    for code, message in result["errors"]:
        if code not in CHECKS or (code == "PR04" and shared(doc, message)):
            continue
        if code == "PR01" and name in MADE_BY_CLASSMETHODS:
            continue
        if code == "RT01" and doc["Yields"]:  # it returns a generator
            continue
        yield f"{name}: {message}"


def missing_defaults(name):
    """Parameters with a default that their type does not name."""
    owner, _, last = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(owner), last)
    except ModuleNotFoundError:
        package, _, cls = owner.rpartition(".")
        found = getattr(getattr(importlib.import_module(package), cls), last)
    if inspect.isclass(found) and issubclass(found, BaseException):
        return
    doc = FunctionDoc(None, doc=inspect.getdoc(found) or "")
    stated = {n.strip(): p.type for p in doc["Parameters"] for n in p.name.split(",")}
    for parameter in inspect.signature(found).parameters.values():
        of_type = stated.get(parameter.name)
        if parameter.default is parameter.empty or parameter.name in REQUIRED:
            continue
        if of_type and of_type != "ignored" and "default" not in of_type:
            yield f"{name}: the default of {parameter.name} is not in its type ({of_type!r})"


def test_help_is_complete():
    found = [text for name in public_names() for text in (*problems(name), *missing_defaults(name))]
    assert not found, "\n".join(found)


def test_the_checks_see_what_is_missing(monkeypatch):
    import skdne.metrics

    def bad(x, y=1):
        """Add

        Parameters
        ----------
        y : int
        """
        return x + y

    bad.__module__ = "skdne.metrics"
    monkeypatch.setattr(skdne.metrics, "bad", bad, raising=False)
    text = "\n".join([*problems("skdne.metrics.bad"), *missing_defaults("skdne.metrics.bad")])
    for said in ("period", "{'x'} not documented", "No Returns", "default of y"):
        assert said in text


@pytest.mark.parametrize("package", PACKAGES)
def test_api_reference_lists_every_name(package):
    page = (Path(__file__).resolve().parents[1] / "docs" / "api.rst").read_text(encoding="utf-8")
    listed = {line.strip().rpartition(".")[2] for line in page.splitlines()}
    missing = [name for name in importlib.import_module(package).__all__ if name not in listed]
    assert not missing, f"add to docs/api.rst: {missing} of {package}"
