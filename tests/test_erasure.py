"""The solvers that erase blocks: what they find, what it costs, and when they leave it."""

import warnings

import numpy as np
import pytest
import torch
from helpers import small_encoder, small_images
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from skdne import (
    BlockErasure,
    CallableEncoder,
    DebiasedNoiseTransformer,
    DebiasingWarning,
    GatedErasure,
)
from skdne.blocks import BlockGrid
from skdne.mmd import group_discrepancy
from skdne.solvers._block_samples import Labels, draw_balanced
from skdne.solvers._gates import spread

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")

# blocks of 2 x 2 pixels; the attribute shows in the first 3 x 3 pixels, so in four blocks
SMALL = BlockErasure(block_size=2, n_images=80, n_permutations=199)
GATES = GatedErasure(block_size=2, n_images=80, n_permutations=199, batch_size=64)
CUE = [(0, 0), (0, 2), (2, 0), (2, 2)]


FLAT = CallableEncoder(
    lambda images: images.reshape(len(images), -1), input_size=(8, 8), n_channels=1
)


def erased_corners(dne):
    rows = dne.blocks_[dne.blocks_["erased"]]
    return list(zip(rows["top"].tolist(), rows["left"].tolist(), strict=True))


def fit(solver, images, y, a, encoder=None, **kwargs):
    kwargs = {"leakage": False, "random_state": 0, **kwargs}
    dne = DebiasedNoiseTransformer(encoder or small_encoder(), solver=solver, **kwargs)
    return dne.fit(images, y, sensitive_features=a)


@pytest.mark.parametrize("solver", [SMALL, GATES], ids=["erasure", "gates"])
@pytest.mark.parametrize("correlation", [0.0, 0.6])
def test_finds_the_blocks_of_the_cue_and_no_other(solver, correlation):
    images, y, a = small_images(400, seed=1, correlation=correlation)
    dne = fit(solver, images, y, a)
    found = erased_corners(dne)
    assert {(0, 0)} <= set(found) <= set(CUE)
    assert dne.stop_reason_ == "converged", found
    assert dne.clip_
    assert set(np.unique(dne.noise_)) == {-1, 0}


def test_nothing_is_left_to_read_and_the_disease_is():
    images, y, a = small_images(400, seed=1)
    dne = fit(SMALL, images, y, a)
    test, y_test, a_test = small_images(400, seed=9)
    for labels, readable in ((a_test, False), (y_test, True)):
        Z = dne.transform(test)
        probe = LogisticRegression(max_iter=1000).fit(Z[:200], labels[:200])
        auc = roc_auc_score(labels[200:], probe.decision_function(Z[200:]))
        assert (auc > 0.8) == readable
        assert readable or auc < 0.62


def test_queries_of_the_search_are_blocks_times_images():
    images, y, a = small_images(400, seed=1)
    dne = fit(SMALL, images, y, a)
    n, n_fit, n_select = 400, 320, 80
    search = 16 * 80
    test_of_what_is_left = min(n_fit, 4 * 80) + n_select
    assert dne.n_queries_ == n + search + test_of_what_is_left + n
    assert dne.n_iter_ == 16 + 1
    np.testing.assert_allclose(dne.loss_curve_[:16], dne.blocks_["auc"])


def test_same_seed_same_blocks_and_table():
    images, y, a = small_images(200, seed=1)
    first, second = (fit(SMALL, images, y, a) for _ in range(2))
    assert first.blocks_.equals(second.blocks_)
    assert list(first.blocks_) == ["top", "left", "size", "auc", "p_value", "erased"]
    telling = first.blocks_["p_value"] <= 0.025
    assert (first.blocks_["erased"] == telling).all()  # nothing was left, so nothing was added


def test_without_a_cue_nothing_is_erased_and_the_noise_is_zero():
    images, _, a = small_images(400, seed=1)
    shuffled = np.random.default_rng(0).permutation(a)
    dne = fit(SMALL, images, None, shuffled, leakage=True)
    assert not dne.noise_.any()
    assert not dne.blocks_["erased"].any()
    assert dne.verdict_.outcome in ("nothing to remove", "undetermined")


def test_three_classes():
    images = small_images(450, seed=1)[0]
    a = np.array(["A", "B", "C"])[np.arange(450) % 3]
    images = np.random.default_rng(0).integers(60, 160, images.shape)
    images[:, :2, 4:6] += 40 * (np.arange(450) % 3)[:, None, None]
    for solver in (SMALL, GATES):
        assert erased_corners(fit(solver, images.astype(np.uint8), None, a)) == [(0, 4)]


def test_an_attribute_everywhere_is_left_and_named():
    images, y, a = small_images(400, seed=1)
    images = np.random.default_rng(0).integers(60, 140, images.shape)
    images += 60 * (a == "M")[:, None, None]
    for solver in (SMALL, GATES):
        dne = fit(solver, images.astype(np.uint8), y, a, leakage=True)
        assert dne.stop_reason_ == "max_area"
        assert not dne.noise_.any()
        assert dne.verdict_.outcome == "not removable without losing content"
        assert "max_area" in dne.verdict_.reason


def test_what_is_erased_in_vain_is_restored_and_what_helps_is_not():
    """A place that tells as much as any other is spared, one that tells more is not."""
    rng = np.random.default_rng(0)
    n = 600
    a = np.arange(n) % 2
    for strength, kept in ((6, False), (90, True)):
        images = rng.integers(60, 140, (n, 8, 8))
        images += 6 * a[:, None, None]
        images[:, :2, :2] += (strength - 6) * a[:, None, None]
        solver = BlockErasure(block_size=2, n_images=40, n_permutations=199, max_area=0.3)
        dne = fit(solver, images.astype(np.uint8), None, a, encoder=FLAT)
        assert dne.stop_reason_ in ("not located", "max_area")
        assert bool(dne.noise_.any()) == kept


def brightness(x, rows, columns):
    return x[..., rows, columns].mean(axis=(-2, -1)) - 0.45


def only_jointly(images):
    """An encoder that tells how bright two places are, and whether they are alike."""
    x = images[:, 0]
    first, second = brightness(x, slice(0, 2), slice(0, 2)), brightness(x, slice(6, 8), slice(6, 8))
    rest = x[:, 2:6, 2:6].reshape(len(x), -1)
    return np.column_stack([first, second, 40 * first * second, rest]).astype(np.float32)


def test_a_cue_that_two_places_tell_only_jointly_is_found_by_the_second_part():
    rng = np.random.default_rng(1)
    n = 400
    a, first = np.arange(n) % 2, rng.random(n) < 0.5
    images = rng.integers(90, 140, (n, 8, 8))
    images[:, :2, :2] += 50 * (2 * first - 1)[:, None, None]
    images[:, 6:, 6:] += 50 * (2 * (first == a) - 1)[:, None, None]
    encoder = CallableEncoder(only_jointly, input_size=(8, 8), n_channels=1)
    dne = fit(SMALL, images.astype(np.uint8), None, a, encoder=encoder)
    assert dne.blocks_["p_value"].min() > 0.025  # no block tells it alone
    assert erased_corners(dne) in ([(0, 0)], [(6, 6)])  # one place suffices, its ring is restored
    assert dne.stop_reason_ == "converged"


def test_budget_is_refused_before_or_ends_the_second_part():
    images, y, a = small_images(400, seed=1)
    with pytest.raises(ValueError, match=r"max_queries=1000 cannot pay .* 2080 at least"):
        fit(SMALL, images, y, a, max_queries=1000)
    dne = fit(SMALL, images, y, a, max_queries=400 + 16 * 80 + 400)
    assert dne.stop_reason_ == "max_queries"
    assert dne.n_queries_ <= 400 + 16 * 80 + 400
    assert set(erased_corners(dne)) <= set(CUE)
    assert dne.noise_.any()


class StopAfter:
    def __init__(self, n):
        self.n = n

    def setup(self, estimator, context): ...
    def teardown(self, estimator, context): ...
    def on_fit_task_begin(self, estimator, context): ...

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        return context.task_name == "epoch" and len(fitted_estimator.loss_curve_) >= self.n


def test_a_callback_ends_the_search_and_what_was_seen_is_erased():
    images, y, a = small_images(400, seed=1)
    dne = DebiasedNoiseTransformer(
        small_encoder(), solver=SMALL, leakage=False, random_state=0
    ).set_callbacks(StopAfter(3))
    dne.fit(images, y, sensitive_features=a)
    assert dne.stop_reason_ == "callback"
    assert dne.n_iter_ == 3
    assert dne.blocks_["auc"].notna().sum() == 3
    assert set(erased_corners(dne)) <= {(0, 0), (0, 2), (0, 4)}
    assert (0, 0) in erased_corners(dne)


def test_gates_that_are_interrupted_do_not_black_out_the_image():
    """They start with everything erased, which is more than max_area."""
    images, y, a = small_images(400, seed=1)
    dne = DebiasedNoiseTransformer(
        small_encoder(), solver=GATES, leakage=False, random_state=0
    ).set_callbacks(StopAfter(2))
    dne.fit(images, y, sensitive_features=a)
    assert dne.n_iter_ == 2
    assert not dne.noise_.any()
    spent = fit(GATES, images, y, a, max_queries=400 + 400 + 3 * 64)
    assert spent.stop_reason_ == "max_queries"
    assert not spent.noise_.any()


def test_images_of_one_patient_are_looked_at_once():
    codes, groups = np.arange(60) % 2, np.arange(60) // 6 * 2 + np.arange(60) % 2
    rows = draw_balanced(Labels(codes, None, groups), 40, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(groups[rows]), np.arange(20))
    assert codes[rows].sum() == 10
    assert len(draw_balanced(Labels(codes), 40, np.random.default_rng(0))) == 40


def test_no_image_is_spent_on_a_class_of_y_that_tells_nothing_of_the_attribute():
    y, a = np.repeat([0, 0, 1], 30), np.repeat([0, 1, 0], 30)
    rows = draw_balanced(Labels(a, y), 40, np.random.default_rng(0))
    assert np.bincount(y[rows]).tolist() == [40]
    assert np.bincount(a[rows]).tolist() == [20, 20]
    assert len(draw_balanced(Labels(a, a), 40, np.random.default_rng(0))) == 40  # y is a


def test_warnings_of_other_solvers_are_not_given():
    """g takes no part, and erased blocks are meant to be large."""
    images, y, a = small_images(400, seed=1)
    for labels in (a, np.random.default_rng(0).permutation(a)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fit(SMALL, images, y, labels, leakage=True)
        texts = [str(w.message) for w in caught]
        assert not [text for text in texts if "classifier" in text or "noise is large" in text]


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (BlockErasure(fill="grey"), "'fill' parameter of BlockErasure must be a str among"),
        (BlockErasure(level=0), "'level' parameter"),
        (BlockErasure(n_permutations=19), "n_permutations=19 can never reach level=0.05"),
        (BlockErasure(probes=("linear", "forest")), "probes must be some of"),
        (GatedErasure(max_area=1.5), "'max_area' parameter of GatedErasure"),
    ],
)
def test_bad_parameters_are_named(solver, message):
    images, y, a = small_images(40)
    with pytest.raises(ValueError, match=message):
        fit(solver, images, y, a)


def test_gates_need_gradients_and_take_any_attribute_classifier():
    images, y, a = small_images(200)
    encoder = CallableEncoder(only_jointly, input_size=(8, 8), n_channels=1)
    with pytest.raises(ValueError, match="GatedErasure needs gradients"):
        fit(GATES, images, y, a, encoder=encoder)
    fit(GATES, images, y, a, attribute_classifier=KNeighborsClassifier())


def with_an_empty_cell(n, seed):
    """Images as of `small_images`, but none of the diseased has the attribute."""
    images, y, a = small_images(2 * n, seed=seed)
    keep = np.flatnonzero((y == 0) | (a == "F"))[:n]
    return images[keep], y[keep], a[keep]


def test_gates_do_not_erase_the_disease_where_a_cell_is_empty():
    """Cue and disease together are more than may be erased; the cue alone is not."""
    images, y, a = with_an_empty_cell(400, seed=1)
    for solver in (clone(GATES).set_params(max_area=0.4), clone(SMALL).set_params(max_area=0.4)):
        dne = fit(solver, images, y, a)
        assert (0, 0) in erased_corners(dne), dne.stop_reason_
        assert set(erased_corners(dne)) <= set(CUE)


def test_gates_say_where_no_class_of_y_can_compare():
    images, _, a = small_images(200)
    with pytest.warns(DebiasingWarning, match="no class of y has images of all classes"):
        dne = fit(GATES, images, a == "M", a)
    assert dne.stop_reason_ == "not tested"
    assert not dne.noise_.any()


def test_gates_agree_with_the_gradient_by_finite_differences():
    encoder = small_encoder()
    grid = BlockGrid((8, 8), 4, "black")
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.random((20, 1, 8, 8), dtype=np.float32))
    codes = torch.arange(20) % 2

    def loss(gates):
        m = spread(gates, grid)
        return group_discrepancy(encoder.forward((1 - m) * x + m * grid.filled()), codes)

    gates = torch.full((2, 2), 0.4, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(gates), gates)
    for i in range(2):
        for j in range(2):
            step = torch.zeros(2, 2)
            step[i, j] = 1e-2
            slope = (loss(gates + step) - loss(gates - step)) / 2e-2
            assert gradient[i, j].item() == pytest.approx(slope.item(), abs=2e-3, rel=2e-2)
