"""The lines of QueryProgress are true: also on a fit that goes on over a store, or ends early."""

import datetime
import io
import re
from types import SimpleNamespace

import pytest
from helpers import small_encoder
from query_fits import ERASURE, GEZO, fit, make_dne
from remote_encoder import RemoteEncoder, Service
from sklearn.callback import ProgressBar

from skdne import Adam, GeZO, QueryProgress, query_progress

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")

LONG = GeZO(**{**GEZO.get_params(), "max_iter": 10})
SECONDS = 2.0  # that the service takes for an image


class TimedService(Service):
    """Answers after two seconds an image, of a clock that only it moves."""

    clock = 0.0

    def answer(self, pixels):
        self.clock += SECONDS * len(pixels)
        return super().answer(pixels)


@pytest.fixture
def service(monkeypatch):
    found = TimedService()

    def now(tz):
        return datetime.datetime.fromtimestamp(found.clock, tz)

    clock = SimpleNamespace(datetime=SimpleNamespace(now=now), UTC=datetime.UTC)
    monkeypatch.setattr(query_progress, "datetime", clock)
    clock.timedelta = datetime.timedelta
    return found


class Lines(io.StringIO):
    """A stream that notes when each line came."""

    def __init__(self, service):
        super().__init__()
        self.service, self.lines = service, []

    def write(self, text):
        self.lines += [(self.service.clock, line) for line in text.splitlines()]
        return len(text)


def seconds_left(line):
    """Seconds that a line promises; None if it names none."""
    found = re.search(r"(about|at most) ((\d+) days?, )?(\d+):(\d\d):(\d\d) left$", line)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(found[i] or 0) for i in (3, 4, 5, 6))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def run(service, solver=LONG, **options):
    lines = Lines(service)
    dne = fit(make_dne(solver, service, **options).set_callbacks(QueryProgress(lines)))
    return dne, [(when, line) for when, line in lines.lines if line.startswith("epoch")]


def test_the_time_left_is_what_it_takes(service):
    dne, lines = run(service)
    assert len(lines) == dne.n_iter_ == 10
    for when, line in lines:
        # the last look at the canary is planned for, and found to be needless
        assert seconds_left(line) == pytest.approx(service.clock - when, abs=4 * SECONDS + 1)
        assert f"{1 / SECONDS:.0f} images/s" in line


def test_images_that_are_sent_again_take_their_time_too(service):
    service.failures = 0.3
    _, lines = run(service)
    when, line = lines[4]
    assert seconds_left(line) == pytest.approx(service.clock - when, rel=0.3)


def test_a_fit_that_goes_on_over_its_store_promises_what_it_takes(service, tmp_path):
    def again(**options):
        return run(service, encoder=RemoteEncoder(service=service, store=tmp_path / "s"), **options)

    service.error_at = {65: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        again()
    dne, lines = again()
    sent = [int(re.search(r"; ([\d,]+) sent", line)[1]) for _, line in lines]
    new = [after - before > 64 for before, after in zip([0, *sent], sent, strict=False)]
    assert 2 <= new.index(True) <= 7
    assert dne.n_sent_ < dne.n_queries_ / 1.5
    for (when, line), sends in zip(lines, new, strict=True):
        if sends:
            # the store may hold a batch of the last noise: it was the best candidate of its step
            spared = 4 + LONG.batch_size
            left = pytest.approx(service.clock - when, abs=spared * SECONDS + 1)
            assert seconds_left(line) == left
        elif new.index(True) > lines.index((when, line)):
            assert seconds_left(line) is None
    _, lines = again()
    assert all(seconds_left(line) is None for _, line in lines)  # all is in the store


def test_a_bound_is_called_one(service):
    dne, lines = run(service, ERASURE)
    assert dne.n_queries_ < dne.query_plan_.most
    for when, line in lines:
        assert "asked for" in line
        assert line.count("at most ") == 2
        assert seconds_left(line) >= service.clock - when - 4 * SECONDS - 1


class Stop:
    """Callback that ends a fit after two epochs."""

    max_propagation_depth = None

    def setup(self, estimator, context):
        pass

    teardown = on_fit_task_begin = setup

    def on_fit_task_end(self, estimator, context):
        return context.task_name == "epoch" and context.task_id == 1


class Tree:
    """Callback that notes what scikit-learn's progress bar is told of the fit."""

    max_propagation_depth = None

    def __init__(self):
        self.total, self.ended = None, []

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        if context.parent is None:
            self.total = context.max_subtasks

    def on_fit_task_end(self, estimator, context):
        self.ended.append(context.task_name)


@pytest.mark.parametrize("callbacks", [[], [Stop()]], ids=["to its end", "stopped"])
@pytest.mark.parametrize("solver", [None, Adam(max_iter=4), GEZO, ERASURE])
def test_the_bar_has_room_for_every_epoch_and_is_full_at_the_end(capsys, solver, callbacks):
    tree = Tree()
    dne = make_dne(solver, encoder=small_encoder())
    dne.set_callbacks(tree, ProgressBar(), *callbacks)
    fit(dne)
    assert tree.ended == ["epoch"] * dne.n_iter_ + ["fit"]
    assert dne.n_iter_ <= tree.total
    if solver is not None and solver is not ERASURE and not callbacks:
        assert dne.n_iter_ == tree.total
    assert "100%" in capsys.readouterr().out.splitlines()[-1]
