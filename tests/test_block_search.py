"""What is left after the first part: where more is erased, what is kept, and when it ends."""

import numpy as np
import pytest
from helpers import small_encoder, small_images

from skdne import BlockErasure, CallableEncoder, DebiasedNoiseTransformer
from skdne.blocks import BlockGrid
from skdne.solvers import _block_search
from skdne.solvers._block_samples import Labels, draw_samples
from skdne.solvers._block_search import BlockSearch

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")

SIZE = 12
SIGNS = np.random.default_rng(0).choice([-1, 1], (SIZE, SIZE))
WEIGHTS = (np.random.default_rng(1).standard_normal((SIZE**2, 100)) / SIZE).astype(np.float32)
MIXED = CallableEncoder(
    lambda x: np.tanh(6 * (x.reshape(len(x), -1) - 0.4) @ WEIGHTS),
    input_size=(SIZE, SIZE),
    n_channels=1,
)


def weak_everywhere(n, seed):
    """Images in which each pixel tells a little of the attribute."""
    rng = np.random.default_rng(seed)
    a = np.arange(n) % 2
    images = 100 + 22 * rng.standard_normal((n, SIZE, SIZE))
    images += 1.5 * np.multiply.outer(2 * a - 1, SIGNS)
    return np.rint(images).clip(0, 255).astype(np.uint8), a


def test_what_shows_weakly_everywhere_is_at_no_one_place():
    """Some of 36 windows would seem to take half of it away, by luck, in most of these runs."""
    solver = BlockErasure(block_size=2, n_images=80, n_permutations=79)
    ends, kept = [], 0
    for seed in range(10):
        images, a = weak_everywhere(400, seed)
        dne = DebiasedNoiseTransformer(MIXED, solver=solver, leakage=False, random_state=seed)
        dne.fit(images, sensitive_features=a)
        ends.append(dne.stop_reason_)
        kept += dne.noise_.any()
    assert kept == 0
    assert ends.count("not located") >= 9, ends


@pytest.mark.parametrize("n", [30, 150, 1000])
def test_a_place_is_chosen_and_decided_on_by_different_images(n):
    labels = Labels(np.arange(n) % 2, np.arange(n) // 2 % 3)
    samples = draw_samples(labels, labels, 40, 9, np.random.default_rng(0))
    choosing, deciding = samples.choosing[0], samples.deciding[0]
    np.testing.assert_array_equal(np.union1d(choosing, deciding), samples.many[0])
    assert not np.intersect1d(choosing, deciding).size
    assert len(choosing) <= min(40, len(deciding))
    for rows in (choosing, deciding):
        counts = np.bincount(labels.cells[rows])
        assert counts.max() - counts.min() <= 1 + n % 6


# A stand-in for an encoder and its probes, such that a test says what is read from each block.

GRID = BlockGrid((14, 14), 2, "black")  # 7 x 7 blocks
CORNERS, CENTRE, BESIDE = [0, 6, 42, 48], 24, 25


class Told(Labels):
    """Stands for an Objective: an embedding says which pixels are erased."""

    selection: Labels

    def embed_each(self, edits):
        for noise, rows in edits:
            yield np.tile(noise.numpy().ravel(), (len(rows), 1))

    def embed(self, noise, rows):
        return next(self.embed_each([(noise, rows)]))


@pytest.fixture
def search_where(monkeypatch):
    """Function that makes a search in which each block adds so much to the AUC.

    So much if probes are trained on 80 images, as many as there are for what is left; less on less.
    """

    def make(tells):
        def auc_of(Z):
            shown = Z[0].reshape(14, 14)[::2, ::2].ravel() == 0
            told = sum(part for block, part in tells.items() if shown[block])
            return 0.5 + told * len(Z) / 80

        def scores(Z, *_args):
            return np.r_[auc_of(Z), np.full(79, 0.5)]

        monkeypatch.setattr(_block_search, "scores", scores)
        monkeypatch.setattr(_block_search, "held_out_scores", scores)
        L = Told(np.arange(200) % 2)
        object.__setattr__(L, "selection", Told(np.arange(100) % 2))
        return BlockSearch(
            L,
            GRID,
            n_images=20,
            level=0.025,
            n_permutations=79,
            probes=("linear",),
            rng=np.random.default_rng(0),
        )

    return make


def erased(search):
    return np.flatnonzero(search.erased).tolist()


@pytest.mark.parametrize(("part", "is_half"), [(0.17, True), (0.13, False)])
def test_a_place_must_take_half_of_what_is_read(search_where, part, is_half):
    """The rest is spread over the corners, of which no window holds two."""
    rest = (0.3 - part) / 4
    search = search_where({CENTRE: part, **dict.fromkeys(CORNERS, rest)})
    assert search.erase_more(0.5) == is_half
    assert erased(search) == [CENTRE] * is_half


@pytest.mark.parametrize(("part", "is_half"), [(0.17, True), (0.13, False)])
def test_a_ring_must_take_half_of_what_is_read(search_where, part, is_half):
    """The centre is erased already, and what is beside it tells something."""
    rest = (0.3 - part) / 4
    search = search_where({CENTRE: 0.2, BESIDE: part, **dict.fromkeys(CORNERS, rest)})
    search.erased[CENTRE] = True
    assert search.erase_more(0.5) == is_half
    assert erased(search) == [CENTRE, *[BESIDE] * is_half]


@pytest.mark.parametrize(("part", "is_kept"), [(0.1, False), (0.17, False), (0.25, True)])
def test_an_erasure_in_vain_is_undone(search_where, part, is_kept):
    """What took away less than a fifth of what was read, where the rest cannot be located."""
    search = search_where({CENTRE: 0.4 * part, **dict.fromkeys(CORNERS, 0.1 * (1 - part))})
    search.erased[CENTRE] = True
    stop = []
    list(BlockErasure().erase_what_is_left(search, stop))
    assert stop == ["not located"]
    assert erased(search) == [CENTRE] * is_kept


def test_more_is_erased_three_times_at_most(search_where):
    """One place after the other, each of which tells more than all that follow."""
    search = search_where({0: 0.2, 6: 0.1, 42: 0.05, 48: 0.02, CENTRE: 0.01})
    stop = []
    tests = list(BlockErasure().erase_what_is_left(search, stop))
    assert stop == ["max_iter"]
    assert erased(search) == [0, 6, 42]
    np.testing.assert_allclose(tests, [0.88, 0.68, 0.58, 0.53])


def test_what_is_left_is_tested_on_four_times_as_many_images():
    images, y, a = small_images(800, seed=1)
    solver = BlockErasure(block_size=2, n_images=40, n_permutations=79)
    dne = DebiasedNoiseTransformer(small_encoder(), solver=solver, leakage=False, random_state=0)
    dne.fit(images, y, sensitive_features=a)
    assert dne.stop_reason_ == "converged"
    assert dne.n_queries_ == 800 + 16 * 40 + 2 * (4 * 40) + 800


def fainter(n, seed):
    """The attribute shows in one block, so faintly that its p-value is neither low nor high."""
    rng = np.random.default_rng(seed)
    y, a = np.arange(n) % 2, np.arange(n) // 2 % 2
    images = rng.normal(100, 20, (n, 8, 8))
    images[:, :2, :2] += 9 * a[:, None, None]
    return images.clip(0, 255).astype(np.uint8), y, a


def test_each_of_the_two_tests_has_half_of_the_level():
    """Erased is what has a p-value of half the level, and what is left is tested so, too."""
    images, y, a = fainter(400, seed=0)

    def fit(level):
        solver = BlockErasure(block_size=2, n_images=80, n_permutations=399, level=level)
        dne = DebiasedNoiseTransformer(small_encoder(), solver=solver, leakage=False)
        return dne.set_params(random_state=0).fit(images, y, sensitive_features=a)

    p = fit(0.05).blocks_["p_value"].min()
    assert 0.01 < p < 0.45
    assert not fit(1.9 * p).blocks_["erased"].any()
    assert fit(2.1 * p).blocks_["erased"].any()
