"""All errors and warnings a user can meet, in one table: each is well-formed, none is left out."""

import inspect
import re

import pytest
from messages.provoke import CASES, SITES, Site, provoke
from sklearn.exceptions import UndefinedMetricWarning

import skdne
import skdne.audit
import skdne.baselines
import skdne.datasets
import skdne.encoders
import skdne.metrics
from skdne import DebiasingWarning, PixelRangeWarning

MOST = 560  # characters: about four sentences
PUBLIC = (skdne, skdne.encoders, skdne.metrics, skdne.audit, skdne.baselines, skdne.datasets)
WARNINGS = (DebiasingWarning, PixelRangeWarning, UndefinedMetricWarning, RuntimeWarning)
TYPES = (ValueError, TypeError, OSError, ImportError, RuntimeError)
# What a message may speak of that is no argument.
THINGS = r"file|reply|service|model|store|encoder|noise|attribute|cell|groups|url|axes|image|column"
THINGS += r"|metadata|[Ii]mages|threshold|key|blocks|SSIM|weights|timm|classif|folder|mean|POST|GET"
THINGS += r"|max_bytes|candidate"
# How a message says what to do, or what would be right.
ADVICE = r"\b(give|use|pass|choose|set|install|check|name|make|try|raise|lower|read|keep|collect"
ADVICE += r"|merge|bin|wrap|resize|repair|convert|leave|left out|save|fit|say|put|serve|ask|get"
ADVICE += r"|write|fill|run|look|add|predict|stratify|calibrate|scale|invert|move|see|reshape|hold"
ADVICE += r"|reweigh|needs?|needed|must|expected|required|supported|it (has|holds|knows)"
ADVICE += r"|CheXpert has|ChestX-ray14 has|there are \[|did you mean)(\b|(?<=\[))"
FORBIDDEN = r"\b([Uu]nbiased|[Ii]nvalid|[Ii]llegal|is not valid|bad|wrong|oops|[Pp]lease|[Ss]orry"
FORBIDDEN += r"|unknown error|something|fatal|abort|solves)\b|!"
ARRAY = r"(?<!to)array\(|tensor\(|np\.\w+_?\(|dtype=| at 0x|\[( *-?[\d.]+,?){12,}"

# Places that no input of a user reaches, or whose words come as part of another message.
NOT_IN_THE_TABLE = {
    "encoders/_auth.py": "keys are not pickled",  # of an object that no user holds
    "encoders/_connection.py": "connections are not pickled",
    "images/_file_batches.py": "images that were not decoded were asked for.",  # by this package
}
RERAISED = {
    ("encoders/_calls.py", "ValueError(message)"),  # the words of a service, in the tables
    ("encoders/_connection.py", 'MayHealError(f"{error}.")'),
    ("encoders/_requests.py", "error"),
}


@pytest.fixture(scope="module")
def said():
    return [provoke(case) for case in CASES]


def names():
    """Public names of the package, of their arguments and of fitted attributes."""
    found = {"X", "y", "y_true", "y_pred", "y_score"}
    for package in PUBLIC:
        for name in package.__all__:
            public = getattr(package, name)
            found.add(name)
            if callable(public) and not (inspect.isclass(public) and issubclass(public, Exception)):
                found |= set(inspect.signature(public).parameters)
                found |= set(re.findall(r"^    (\w+_) :", public.__doc__ or "", re.M))
            if inspect.isclass(public):
                for _, method in inspect.getmembers(public, inspect.isroutine):
                    if code := getattr(method, "__code__", None):
                        n_arguments = code.co_argcount + code.co_kwonlyargcount
                        found |= set(code.co_varnames[:n_arguments])
    return found - {"self", "cls"}


NAMES = "|".join(sorted(map(re.escape, names()), key=len, reverse=True))


def faults(text):
    """What is not good prose about a message."""
    head, *listed = text.split("\n")
    if not re.search(rf"(?<!\w)({NAMES})(?!\w)|{THINGS}", text):
        yield "names neither an argument nor the thing at fault"
    if len(head) > MOST:
        yield f"is {len(head)} characters long"
    if not listed and not re.search(r"""[.?]\)?$|pip install "skdne\[\w+\]"$""", text):
        yield "does not end with a full stop"
    if listed and not re.search(r":$", head):
        yield "has more than one line, and the first announces no list"
    if re.search(ARRAY, text):
        yield "holds the repr of an array or an address"
    if internal := re.search(r"(?<![\w.'/])_[a-z]\w*", text):
        yield f"holds an internal name, {internal[0]}"
    if not re.search(ADVICE, text, re.IGNORECASE):
        yield "does not say what to do"
    if bad := re.search(FORBIDDEN, re.sub(r"\([^()]*\)|'[^']*'", "", text)):  # not what it quotes
        yield f"holds the word {bad[0]!r}"
    if re.search(r"(?<!\.)\.\.(?!\.)|  |[:;,]\.|\b1 (times|files)\b", head):
        yield "has odd punctuation or a wrong plural"


def test_the_messages_are_good_prose(said):
    found = [
        f"{one.case}\n  {message}\n  -> {fault}"
        for one in said
        for message in one.messages
        for fault in faults(message)
    ]
    assert not found, "\n".join(found)


def test_each_mistake_is_answered_once(said):
    for one in said:
        assert one.messages, f"{one.case} says nothing"
        assert len(set(one.messages)) == len(one.messages), f"{one.case} says something twice"
        if one.error is not None:
            assert isinstance(one.error, TYPES), f"{one.case}: {one.error!r}"
            assert one.is_ours, f"{one.case}: an error of another library, {one.error!r}"
        for text, category in one.warnings:
            assert category in WARNINGS, f"{one.case}: {category.__name__}: {text}"


def is_excepted(site: Site):
    """Whether a place is known to be out of reach of the table."""
    if site.file.startswith("experiments/") or not site.words:
        return site.file.startswith("experiments/") or "NotImplementedError" in site.source
    return NOT_IN_THE_TABLE.get(site.file) in site.words


def test_no_message_is_missing_from_the_table(said):
    missing = [
        f"skdne/{site.file}:{site.first}: {site.source}"
        for site in SITES
        if not site.was_heard(said)
        and not is_excepted(site)
        and not any(site.file == file and source in site.source for file, source in RERAISED)
    ]
    assert not missing, "add a case to tests/messages for each of:\n" + "\n".join(missing)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("n_samples is invalid; give more.", "the word 'invalid'"),
        ("n_samples must be positive", "full stop"),
        ("that is no good; give more.", "names neither"),
        ("X holds array([1, 2]); give more.", "repr"),
        ("X is refused by _check; give more.", "internal name, _check"),
        ("X has NaN.", "what to do"),
        ("X has NaN; give more.\nThere.", "announces no list"),
        (f"give X{' again' * 100}.", "characters long"),
    ],
)
def test_the_rules_see_bad_prose(text, fault):
    assert any(fault in found for found in faults(text))


def test_a_new_place_would_be_missed(said):
    new = Site("budget.py", 10**6, 10**6, ("words that nobody has heard yet",), "raise new")
    assert not new.was_heard(said)
    assert not is_excepted(new)
    assert sum(site.was_heard(said) for site in SITES) > 250
