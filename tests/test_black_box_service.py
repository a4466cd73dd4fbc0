"""Fits over real services give what fits in this process give, whatever the services do."""

import signal
import time
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
import tenacity
from helpers import small_images
from service_fits import (
    CANARIES,
    ERASURE,
    GEZO,
    SIZE,
    SPSA_,
    LocalEncoder,
    fit,
    make_dne,
    start_fit,
    v2,
    vertex,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdne import BudgetExhaustedError, DebiasingWarning, GeZO

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")
LONG = GeZO(max_iter=4, n_local_iter=3, n_directions=4, batch_size=16, grid_size=4, step_size=0.1)
N_KILLS = 20


@pytest.fixture(params=["v2_proxy", "mlserver_proxy", "vertex_proxy"])
def service(request):
    """The proxy before a service, and a function that makes an encoder of it."""
    proxy = request.getfixturevalue(request.param)
    proxy.set_plan()
    proxy.reset_counts()

    def make(**options):
        if request.param == "vertex_proxy":
            return vertex(proxy.url, **options)
        encoding = {"v2_proxy": "binary", "mlserver_proxy": "json"}[request.param]
        return v2(proxy.url, **{"encoding": encoding, **options})

    return proxy, make


@pytest.fixture
def short_waits(monkeypatch):
    """Waits between attempts are a twentieth of what they are."""
    shorter = SimpleNamespace(sleep=lambda seconds: time.sleep(seconds / 20))
    monkeypatch.setattr(tenacity.nap, "time", shorter)


def check_same(remote, local):
    np.testing.assert_array_equal(remote.noise_, local.noise_)
    assert remote.noise_.any()
    assert remote.n_queries_ == local.n_queries_
    assert remote.loss_curve_ == local.loss_curve_
    assert remote.leakage_ == local.leakage_
    X = small_images(11, seed=1, size=SIZE)[0]
    np.testing.assert_array_equal(remote.transform(X), local.transform(X))


# The same to the last bit ------------------------------------------------------------------------


@pytest.mark.parametrize("solver", [GEZO, SPSA_, ERASURE], ids=["gezo", "spsa", "erasure"])
def test_fit_and_transform_are_those_of_the_model_in_this_process(service, solver):
    proxy, make = service
    options = {"solver": solver, "n": 80, "leakage": solver is ERASURE}
    remote = fit(make(), **options)
    counts = proxy.counts()
    check_same(remote, fit(LocalEncoder(), **options))
    assert counts["received"]["images"] == remote.n_sent_ <= remote.n_queries_
    assert 1 < counts["max_in_flight"] <= 4


def test_a_grid_search_is_that_of_the_model_in_this_process(service):
    _, make = service
    X, y, a = small_images(48, size=SIZE)

    def search(encoder):
        pipe = make_pipeline(make_dne(encoder, SPSA_), LogisticRegression())
        grid = {"debiasednoisetransformer__solver__step_size": [0.05, 0.2]}
        with sklearn.config_context(enable_metadata_routing=True):
            found = GridSearchCV(pipe, grid, cv=2, scoring="roc_auc", error_score="raise")
            return found.fit(X, y, sensitive_features=a)

    remote, local = search(make()), search(LocalEncoder())
    scores = [found.cv_results_["mean_test_score"] for found in (remote, local)]
    np.testing.assert_array_equal(*scores)
    assert remote.best_params_ == local.best_params_
    check_same(remote.best_estimator_[0], local.best_estimator_[0])


# Faults, kills, budgets --------------------------------------------------------------------------

HEALING = ["429", "500", "502", "503", "504", "hang", "truncated"]


def test_a_tenth_of_requests_failing_changes_nothing(service, short_waits):
    proxy, make = service
    kinds = [*HEALING, "item:503"] if make().protocol == "vertex" else HEALING
    proxy.set_plan(rate=0.1, kinds=kinds, seed=SEED, retry_after=2.0)
    remote = fit(make(timeout=2, batch_size=4), LONG)
    faults = proxy.counts()["faults"]
    assert set(faults) == {"ok", *kinds}  # each of them happened
    proxy.set_plan()
    check_same(remote, fit(LocalEncoder(), LONG))
    n_failed = sum(faults.values()) - faults["ok"]
    assert 0.05 < n_failed / sum(faults.values()) < 0.15
    assert remote.n_sent_ > remote.n_queries_ + n_failed
    assert proxy.counts()["received"]["images"] == remote.n_sent_ + 11 + 4  # and the transform's


SEED = 1


def test_twenty_kills_leave_the_noise_as_it_is_and_lose_what_was_in_flight(v2_proxy, tmp_path):
    v2_proxy.set_plan()
    v2_proxy.reset_counts()
    fit_options = {"batch_size": 4}
    unbroken = fit(v2(v2_proxy.url, **fit_options), LONG)
    wanted = set(v2_proxy.images()) - CANARIES

    v2_proxy.reset_counts()
    v2_proxy.set_plan(delay=0.03)
    rng = np.random.default_rng(0)
    run = (v2_proxy.url, tmp_path / "store.sqlite", {"resumed": LONG}, tmp_path / "fit")
    for _ in range(N_KILLS):
        n_requests = v2_proxy.counts()["received"]["requests"] + rng.integers(1, 20)
        process = start_fit(*run)
        while v2_proxy.counts()["received"]["requests"] < n_requests:
            assert process.exitcode is None
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL  # it was not done
    v2_proxy.set_plan()
    process = start_fit(*run)
    process.join()
    assert process.exitcode == 0

    with np.load(tmp_path / "fit_resumed.npz") as resumed:
        np.testing.assert_array_equal(resumed["noise"], unbroken.noise_)
        assert resumed["asked"] == unbroken.n_queries_
        assert resumed["sent"] < unbroken.n_sent_  # the rest was paid for
    images = v2_proxy.images()
    sent_again = sum(n - 1 for image, n in images.items() if image not in CANARIES)
    assert set(images) - CANARIES == wanted
    assert 0 < sent_again <= N_KILLS * 4 * 4  # requests in flight times batch_size
    # the canary is beside: each run asks the four images, at most once in an epoch and twice more
    assert sum(images[image] for image in CANARIES) <= 4 * (N_KILLS + 1) * (LONG.max_iter + 2)


def test_two_processes_share_a_store_and_find_what_one_alone_finds(v2_proxy, tmp_path):
    v2_proxy.set_plan()
    solvers = {"a": GeZO(**{**GEZO.get_params(), "step_size": 0.2}), "b": GEZO}
    alone = {i: fit(v2(v2_proxy.url), solver) for i, solver in solvers.items()}
    assert not np.array_equal(alone["a"].noise_, alone["b"].noise_)

    v2_proxy.reset_counts()
    orders = {"first": ["a", "b"], "second": ["b", "a"]}
    runs = [
        start_fit(
            v2_proxy.url,
            tmp_path / "store.sqlite",
            {i: solvers[i] for i in order},
            tmp_path / name,
        )
        for name, order in orders.items()
    ]
    for process in runs:
        process.join()
        assert process.exitcode == 0
    asked, sent = {}, 0
    for name in orders:
        asked[name] = 0
        for i, reference in alone.items():
            with np.load(tmp_path / f"{name}_{i}.npz") as found:
                np.testing.assert_array_equal(found["noise"], reference.noise_)
                asked[name] += int(found["asked"])
                sent += int(found["sent"])
    assert v2_proxy.counts()["received"]["images"] == sent
    distinct = len(set(v2_proxy.images()) - CANARIES)
    assert distinct <= sent < 2 * distinct < sum(asked.values())


PLAN = make_dne(LocalEncoder(), GEZO).estimate_queries(48)
BUDGETS = [PLAN.minimum, PLAN.minimum + 1, (PLAN.minimum + PLAN.most) // 2, PLAN.most - 1]


@pytest.mark.parametrize("max_queries", BUDGETS)
def test_a_budget_is_not_exceeded_by_one_image(v2_proxy, max_queries):
    v2_proxy.set_plan()
    v2_proxy.reset_counts()
    with pytest.warns(DebiasingWarning, match=f"max_queries={max_queries}"):
        remote = fit(v2(v2_proxy.url), max_queries=max_queries)
    counts = v2_proxy.counts()["received"]
    assert counts["images"] == remote.n_sent_ <= remote.n_queries_ <= max_queries
    assert remote.stop_reason_ == "max_queries"
    local = fit(LocalEncoder(), max_queries=max_queries)
    np.testing.assert_array_equal(remote.noise_, local.noise_)
    assert remote.objective_ == local.objective_
    if remote.noise_.any():
        assert remote.objective_["noise"] < remote.objective_["zero"]


@pytest.mark.parametrize("max_queries", BUDGETS)
def test_nor_where_requests_fail(v2_proxy, short_waits, max_queries):
    v2_proxy.reset_counts()
    v2_proxy.set_plan(rate=0.2, kinds=["503", "truncated"], seed=0)
    try:
        with pytest.warns(DebiasingWarning, match=f"max_queries={max_queries}"):
            sent = fit(v2(v2_proxy.url), max_queries=max_queries).n_sent_
    except BudgetExhaustedError as error:  # it failed too often
        assert max_queries < BUDGETS[2]
        assert "before the noise fit began" in str(error)  # noqa: PT017
        sent = None
    counts = v2_proxy.counts()
    assert sum(counts["faults"].values()) > counts["faults"]["ok"]
    assert counts["received"]["images"] <= max_queries
    assert sent in (None, counts["received"]["images"])
