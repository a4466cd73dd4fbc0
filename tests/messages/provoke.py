"""Do what the tables say, and note what was said and by which lines of the package."""

import ast
import inspect
import tempfile
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_service import serving

import skdne
from messages import displays, figures, fits, images, services

PACKAGE = Path(skdne.__file__).parent
TABLES = (images, fits, services, figures, displays)
CASES = [case for table in TABLES for case in table.CASES]


@dataclass
class Said:
    """What one case made the package say."""

    case: str
    error: Exception | None = None
    is_ours: bool = True  # whether the error was raised by the package itself
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)
    lines: set[tuple[str, int]] = field(default_factory=set)

    @property
    def messages(self) -> list[str]:
        """Texts of the error, if there is one, and of the warnings."""
        of_error = [] if self.error is None else [str(self.error)]
        return of_error + [text for text, _ in self.warnings]


@dataclass(frozen=True)
class Site:
    """A ``raise`` or a ``warn`` in the package, and the words that are always in its message."""

    file: str
    first: int
    last: int
    words: tuple[str, ...]
    source: str

    def was_heard(self, said: list[Said]) -> bool:
        """Whether a case went through it, or its words are in a message that quotes them."""
        lines = {(self.file, line) for line in range(self.first, self.last + 1)}
        texts = [text for one in said for text in one.messages]
        longest = max(self.words, key=len, default="")
        quoted = len(longest) > 9 and any(longest in text for text in texts)
        return quoted or any(lines & one.lines for one in said)


def sites() -> list[Site]:
    """Every place of the package where an error is made or a warning given."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            name = getattr(node, "func", None)
            is_warning = isinstance(node, ast.Call) and "warn" in (
                getattr(name, "attr", None),
                getattr(name, "id", None),
            )
            if is_warning or (isinstance(node, ast.Raise) and node.exc is not None):
                words = (n.value for n in ast.walk(node) if isinstance(n, ast.Constant))
                texts = tuple(word for word in words if isinstance(word, str))
                file = path.relative_to(PACKAGE).as_posix()
                source = " ".join((ast.get_source_segment(text, node) or "").split())
                found.append(Site(file, node.lineno, node.end_lineno or 0, texts, source))
    return found


def lines_of(frames) -> set[tuple[str, int]]:
    """(file, line) of those frames that are in the package."""
    return {
        (Path(name).relative_to(PACKAGE).as_posix(), line)
        for name, line in frames
        if Path(name).is_relative_to(PACKAGE)
    }


SITES = sites()
# Lines of raise statements: an error from another line is one of NumPy, say, that got through.
RAISING = {(s.file, line) for s in SITES for line in range(s.first, s.last + 1)}


def provoke(case) -> Said:
    """Run one case in a folder of its own, and hear what it says."""
    source = " ".join(inspect.getsource(case).split())
    said = Said(source.removeprefix("lambda world: ").rstrip(","))
    warn = warnings.warn

    def hear(message, category=UserWarning, *args, **kwargs):
        frames = [(f.filename, f.lineno) for f in inspect.stack(0)]
        said.lines |= lines_of(frames)
        if lines_of(frames[1:2]):
            said.warnings.append((str(message), category))
        return warn(message, category, *args, **kwargs)

    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        serving(patch) as serve,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        patch.setattr(warnings, "warn", hear)
        patch.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
        try:
            case(SimpleNamespace(path=Path(folder), patch=patch, serve=serve))
        except Exception as error:
            said.error = error
            last = traceback.extract_tb(error.__traceback__)[-1]
            said.is_ours = bool(lines_of([(last.filename, last.lineno)]) & RAISING)
            while error is not None:
                frames = traceback.extract_tb(error.__traceback__)
                said.lines |= lines_of((f.filename, f.lineno) for f in frames)
                error = error.__cause__ or error.__context__
        said.case = said.case.replace(folder, "")
    return said
