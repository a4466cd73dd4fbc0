"""What the tests of blocks can show at all, said before a query is sent."""

import itertools

import numpy as np
import pytest
from helpers import small_encoder, small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, rankdata

from skdne import BlockErasure, DebiasedNoiseTransformer, GatedErasure
from skdne.block_power import detectable_auc, power_of, smallest_p_value
from skdne.block_test import _auc_within, adjusted_p_values, make_design, scores
from skdne.solvers._block_samples import Labels
from skdne.solvers._blocks import BlockSolver

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")

SHAPE = (1, 8, 8)
SMALL = BlockErasure(block_size=2, n_images=80, n_permutations=199)
GATES = GatedErasure(block_size=4, n_images=80, max_iter=20, step_size=0.5, area_weight=5)


def design_of(codes, strata, n_permutations=999, n_folds=1, seed=0):
    rng = np.random.default_rng(seed)
    return make_design(np.asarray(codes), np.asarray(strata), n_permutations, rng, n_folds)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2)), min_size=2, max_size=7))
def test_the_smallest_p_value_is_one_over_the_labelings(rows):
    strata, codes = np.array(rows).T
    labelings = {
        perm
        for perm in itertools.permutations(codes.tolist())
        if all(
            sorted(np.array(perm)[strata == y].tolist()) == sorted(codes[strata == y].tolist())
            for y in (0, 1)
        )
    }
    design = design_of(codes, strata, 10**4)
    assert smallest_p_value(design) == pytest.approx(1 / min(len(labelings), 10**4 + 1))


def test_perfect_predictions_reach_it_and_nothing_less():
    codes, strata = np.tile([0, 1], 6), np.repeat([0, 1], 6)
    design = design_of(codes, strata, 9999)
    assert smallest_p_value(design) == pytest.approx(1 / 20**2)  # three of six, twice
    perfect = np.repeat(codes[:, None].astype(float), 10**4, axis=1)
    found = _auc_within(perfect, design.labels == 1, design.cells)
    assert found[0] == 1
    assert adjusted_p_values(found[None])[0] == pytest.approx(1 / 20**2, rel=0.4)
    assert smallest_p_value(design_of(codes, strata, 19)) == 1 / 20
    # probes that are trained on the other folds read the labels turned round as well as these
    design = design_of(codes, strata, 9999, n_folds=3)
    assert smallest_p_value(design) == pytest.approx(1 / 2**6)
    found = scores(codes[:, None].astype(float), design)
    assert adjusted_p_values(found[None])[0] == pytest.approx(2 / 2**6, rel=0.3)


@pytest.mark.parametrize("n_tests", [1, 64])
@pytest.mark.parametrize("sizes", [(40, 40, 40, 40), (100, 20, 15, 60)])
def test_the_detectable_auc_is_found_four_times_in_five(n_tests, sizes):
    """Normal scores, shifted such that their AUC is that; level and tests as stated."""
    codes, strata = np.repeat([0, 1, 0, 1], sizes), np.repeat([0, 0, 1, 1], sizes)
    design = design_of(codes, strata, 3999)
    auc = detectable_auc(design, 0.025, n_tests=n_tests)
    assert 0.5 < auc < 1
    rng, found = np.random.default_rng(0), []
    shift = np.sqrt(2) * norm.ppf(auc)
    for _ in range(300):
        observed = rng.standard_normal(len(codes)) + shift * codes
        won = sum(  # rank sums: the pairs are as many under each permutation
            rankdata(observed[strata == y]) @ design.labels[strata == y] for y in (0, 1)
        )
        found.append(adjusted_p_values(won[None])[0] <= 0.025 / n_tests)
    assert 0.72 < np.mean(found) < 0.88


def test_more_images_detect_less_and_three_classes_need_more():
    aucs = [
        detectable_auc(design_of(np.arange(n) % 2, np.arange(n) // 2 % 2), 0.05)
        for n in (40, 160, 640)
    ]
    assert 1 > aucs[0] > aucs[1] > aucs[2] > 0.5
    three = detectable_auc(design_of(np.arange(160) % 3, np.arange(160) // 3 % 2), 0.05)
    assert aucs[1] < three < aucs[0]
    # half the deviation for four times the images
    assert (aucs[1] - 0.5) / (aucs[2] - 0.5) == pytest.approx(2, rel=0.03)


def test_where_no_labeling_is_rare_enough_not_even_a_perfect_probe_will_do():
    found = power_of(design_of([0, 1, 0, 1, 0, 1, 0, 1], [0] * 4 + [1] * 4), 0.025)
    assert found == pytest.approx((1 / 36, 0.025, 1))
    assert not found.can_show
    assert power_of(design_of([0] * 9 + [1] * 9, [0] * 9 + [1] * 9), 0.025) == (1, 0.025, 1)


def patients(n, n_images, strength, seed=0):
    """Images, y, attribute and patient; each patient has one y and one attribute."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n), n_images)
    y, a = groups % 2, groups // 2 % 2
    images = rng.integers(60, 160, (len(groups), 8, 8))
    images += (strength * a)[:, None, None]
    return images.astype(np.uint8), y, a, groups


@pytest.mark.parametrize("solver", [SMALL, GATES])
def test_what_could_not_be_found_was_not_tested(solver):
    """Forty patients: eight to judge by. However the labels fall, 1 in 36 reads as well."""
    X, y, a, groups = patients(40, 5, strength=0)
    dne = DebiasedNoiseTransformer(small_encoder(), solver=solver, leakage=False, random_state=0)
    dne.fit(X, y, sensitive_features=a, groups=groups)
    assert dne.stop_reason_ == "not tested"
    assert not np.isnan(dne.loss_curve_).any()
    more = patients(80, 5, strength=0)
    dne.fit(more[0], more[1], sensitive_features=more[2], groups=more[3])
    assert dne.stop_reason_ == "converged"


def test_without_a_selection_set_nothing_is_said_to_have_converged():
    X, y, a = small_images(18)
    dne = DebiasedNoiseTransformer(small_encoder(), solver=SMALL, random_state=0)
    dne.fit(X, y, sensitive_features=a)
    assert dne.stop_reason_ == "not tested"
    assert len(dne.loss_curve_) == 16
    assert not np.isnan(dne.loss_curve_).any()


def test_power_is_that_of_the_images_which_the_solver_then_looks_at(monkeypatch):
    seen = []
    minimize = BlockSolver.minimize

    def spy(self, objective, seed, on_epoch):
        labels = [
            part and Labels(part.codes, part.strata, part.groups)
            for part in (objective, objective.selection)
        ]
        seen.append(self.power(*labels, SHAPE, objective.encoder, seed))
        return minimize(self, objective, seed, on_epoch)

    monkeypatch.setattr(BlockSolver, "minimize", spy)
    X, y, a, groups = patients(40, 5, strength=0)
    a[::7] = 1 - a[::7]  # so that it matters which image of a patient is drawn
    encoder = small_encoder()
    DebiasedNoiseTransformer(encoder, solver=SMALL, leakage=False, random_state=0).fit(
        X, y, sensitive_features=a, groups=groups
    )
    ((blocks, left),) = seen
    assert blocks.level == left.level == 0.025
    assert blocks.smallest_p < 0.025 < left.smallest_p
    assert left.detectable_auc == 1
    assert 0.8 < blocks.detectable_auc < 1
    one_block = BlockErasure(block_size=8, n_images=80)
    whole = Labels(np.arange(400) % 2, np.arange(400) // 2 % 2)
    found = [s.power(whole, None, SHAPE, encoder, 0) for s in (SMALL, one_block)]
    assert found[0][1] is None
    assert found[0][0].detectable_auc > found[1][0].detectable_auc > 0.6
    gates = GatedErasure(block_size=2, n_images=80).power(whole, whole, SHAPE, encoder, 0)
    assert gates[0].detectable_auc < found[1][0].detectable_auc  # of four times as many images
    assert gates[0].detectable_auc == pytest.approx(gates[1].detectable_auc, abs=0.01)
