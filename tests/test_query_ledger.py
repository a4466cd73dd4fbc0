"""The bound on what a fit sends is hard, and what is paid for is said, or kept for the next fit."""

import warnings

import numpy as np
import pytest
from helpers import small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from query_fits import ERASURE, GEZO, SPSA_, fit, make_dne
from remote_encoder import RemoteEncoder, Service

from skdne import BudgetExhaustedError, DebiasedNoiseTransformer, DebiasingWarning, GeZO
from skdne.canary import canary_images

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


@pytest.mark.parametrize("solver", [None, GEZO, SPSA_, ERASURE])
def test_the_smallest_budget_is_enough_and_one_less_is_refused(solver):
    minimum = make_dne(solver).estimate_queries(47).minimum
    service = Service()
    with pytest.raises(ValueError, match=rf"(?s)Raise it to {minimum} at least.*in all"):
        fit(make_dne(solver, service, max_queries=minimum - 1))
    assert service.n_images == 0
    dne = fit(make_dne(solver, service, max_queries=minimum))
    assert service.n_images == dne.n_sent_ <= dne.n_queries_ <= minimum


def test_a_fit_without_attribute_has_its_budget_too():
    X, _, _ = small_images(20)
    service = Service()
    with pytest.raises(ValueError, match="Raise it to 5 at least"):
        make_dne(None, service, max_queries=4).fit(X)
    assert service.n_images == 0
    assert make_dne(None, service, max_queries=5).fit(X).n_queries_ == service.n_images == 5


@pytest.fixture(scope="module")
def unbounded():
    """The noise after each step of fits that nothing bounds."""
    found = {}
    for solver in (GEZO, SPSA_):
        steps = [np.zeros((8, 8), np.float32)]
        iterate = type(solver).iterate

        def recording(self, *args, steps=steps, iterate=iterate):
            for step in iterate(self, *args):
                steps.append(step.theta[0].numpy().copy())
                yield step

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(solver), "iterate", recording)
            fit(make_dne(solver))
        found[type(solver)] = steps
    return found


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_budget_is_ever_exceeded(unbounded, data):
    solver = data.draw(st.sampled_from([GEZO, SPSA_, ERASURE]))
    most = make_dne(solver).estimate_queries(47).most
    limit = data.draw(st.integers(100, 700))
    failures = data.draw(st.sampled_from([0.0, 0.05, 0.4]))
    service = Service(failures=failures, seed=data.draw(st.integers(0, 99)))
    dne = make_dne(solver, service, flight=data.draw(st.sampled_from([1, 4])), max_queries=limit)
    error = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit(dne)
        except (BudgetExhaustedError, ValueError) as raised:
            error = raised
    assert service.n_images <= limit
    if isinstance(error, ValueError):
        assert "cannot pay for this fit" in str(error)
        assert service.n_images == 0
        return
    if error is not None:
        assert "before the noise fit began" in str(error)
        assert failures
        return
    said = " ".join(str(w.message) for w in caught)
    assert dne.n_sent_ == service.n_images
    assert dne.n_queries_ <= limit
    if solver is not ERASURE:
        ended = dne.n_iter_ < 3 or dne.stop_reason_ == "max_queries"
        assert (dne.stop_reason_ == "max_queries") == ended
        assert any(np.array_equal(dne.noise_, step) for step in unbounded[type(solver)])
        if not failures:
            assert ended == (limit < most)
            assert service.n_images in (dne.n_queries_, dne.n_queries_ - 4)
    assert (dne.stop_reason_ == "max_queries") == ("ended the noise fit" in said)
    judged = "before the noise could be judged" not in said
    assert judged or failures
    if judged and dne.noise_.any():
        assert dne.objective_


def test_of_a_step_that_cannot_be_paid_for_nothing_is_sent():
    n, step = 47, 4 * 16
    fixed = 2 * n + 2 * 4  # clean, edited, and a check before each
    for spare in (0, 1, step - 1):
        service = Service()
        dne = fit(make_dne(GEZO, service, max_queries=fixed + 4 + 3 * step + spare))
        assert dne.stop_reason_ == "max_queries"
        assert dne.n_queries_ == fixed + 4 + 3 * step


def test_where_failures_eat_the_final_measurements_the_noise_is_kept_and_that_is_said(unbounded):
    plan = make_dne(GEZO).estimate_queries(47)
    service = Service()
    service.fails_from = plan.requests[0] - 2  # one of the three last requests still succeeds
    dne = make_dne(GEZO, service, max_queries=plan.most)
    with pytest.warns(DebiasingWarning, match="used up before the noise could be judged"):
        fit(dne)
    assert plan.most - 16 < service.n_images == dne.n_sent_ <= plan.most
    np.testing.assert_array_equal(dne.noise_, unbounded[GeZO][-1])
    assert dne.noise_.any()
    assert (dne.stop_reason_, dne.objective_, dne.leakage_) == ("max_iter", {}, {})


def test_where_failures_eat_everything_before_the_noise_fit_it_is_an_error():
    service = Service()
    service.fails_from = 2
    dne = make_dne(GEZO, service, max_queries=400)
    with pytest.raises(BudgetExhaustedError, match="before the noise fit began"):
        fit(dne)
    assert 400 - 16 < service.n_images <= 400


@pytest.mark.parametrize("flight", [1, 4])
@pytest.mark.parametrize("solver", [GEZO, SPSA_, ERASURE], ids=["gezo", "spsa", "erasure"])
def test_a_fit_that_died_goes_on_over_its_store(tmp_path, solver, flight):
    def run(path, service):
        encoder = RemoteEncoder(service=service, concurrency=flight, store=path)
        return fit(DebiasedNoiseTransformer(encoder, solver=solver, leakage=False, random_state=0))

    unbroken = Service()
    reference = run(tmp_path / "unbroken.sqlite", unbroken)
    assert unbroken.n_images == reference.n_sent_
    assert sent_twice(unbroken) == 0

    rng = np.random.default_rng(0)
    for error in (RuntimeError, KeyboardInterrupt):
        path = tmp_path / f"{error.__name__}.sqlite"
        service = Service()
        for part in (2, 3):
            death = service.n_requests + rng.integers(unbroken.n_requests // part)
            service.error_at = {death: error("killed")}
            with pytest.raises(error, match="killed"):
                run(path, service)
        resumed = run(path, service)
        np.testing.assert_array_equal(resumed.noise_, reference.noise_)
        assert resumed.n_queries_ == reference.n_queries_
        assert set(service.seen) == set(unbroken.seen)
        # a death loses its own request; the others in flight were waited for, and are kept
        assert sent_twice(service) <= 2 * RemoteEncoder.batch_size


def sent_twice(service):
    """Images that were sent again, beside those of the canary, which every run sends anew."""
    canaries = {image.tobytes() for image in RemoteEncoder().on_wire(canary_images((1, 8, 8)))}
    return sum(n - 1 for image, n in service.seen.items() if image not in canaries)


def test_a_second_fit_over_the_store_sends_the_canary_alone(tmp_path):
    service = Service()
    first, second = (
        fit(make_dne(GEZO, encoder=RemoteEncoder(service=service, store=tmp_path / "s.sqlite")))
        for _ in range(2)
    )
    assert second.n_sent_ == 4
    assert second.n_queries_ == first.n_queries_
    np.testing.assert_array_equal(first.noise_, second.noise_)


def test_a_budget_ends_a_resumed_fit_where_it_ended_the_first(tmp_path):
    service = Service()
    first, second = (
        fit(
            make_dne(
                SPSA_,
                encoder=RemoteEncoder(service=service, store=tmp_path / "s.sqlite"),
                max_queries=400,
            )
        )
        for _ in range(2)
    )
    assert first.stop_reason_ == second.stop_reason_ == "max_queries"
    assert first.n_queries_ == second.n_queries_
    np.testing.assert_array_equal(first.noise_, second.noise_)
