"""NoiseDisplay, kind="blocks": the map shows the AUC of each block where it lies in the image."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from sklearn.frozen import FrozenEstimator

from skdne import Adam, BlockErasure, DebiasedNoiseTransformer, GatedErasure, TorchEncoder
from skdne.display import NoiseDisplay

mpl.use("Agg")
import matplotlib.pyplot as plt

SIZE = 6  # blocks of 6 in images of 16: those at the right and lower edge are cut to 4


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(1, 4, 4, 2), torch.nn.ReLU(), torch.nn.Flatten()
    return TorchEncoder(torch.nn.Sequential(*layers), input_size=(16, 16), n_channels=1)


@pytest.fixture(scope="module")
def data():
    """Images whose lower edge is bright, in the middle, in one group."""
    rng = np.random.default_rng(0)
    a = np.arange(120) % 2
    X = rng.uniform(0.3, 0.5, (120, 16, 16))
    X[:, 13:, 7:11] += 0.3 * a[:, None, None]
    return X, a


def fit(encoder, data, solver):
    X, a = data
    dne = DebiasedNoiseTransformer(encoder, solver=solver, leakage=False, random_state=0)
    return dne.fit(X, sensitive_features=a)


@pytest.fixture(scope="module")
def dne(encoder, data):
    fitted = fit(encoder, data, BlockErasure(block_size=SIZE, n_images=60))
    assert fitted.blocks_["erased"].tolist() == 7 * [False] + [True, False]
    return fitted


def hatched(ax):
    """(left, top, right, lower) of the hatched boxes, in pixels."""
    return {tuple(patch.get_bbox().extents) for patch in ax.patches if patch.get_hatch()}


def test_original_map_and_edited(dne, data):
    X = data[0]
    display = NoiseDisplay.from_estimator(FrozenEstimator(dne), X[1:3], kind="blocks")
    original, scores, edited = (im.get_array() for im in display.im_)
    np.testing.assert_allclose(original, X[1], rtol=1e-6)
    np.testing.assert_array_equal(edited, dne.edit(X[1:2])[0])
    assert not edited[12:, 6:12].any()  # black
    by_hand = np.empty((16, 16))
    for row in range(16):
        for column in range(16):
            block = 3 * (row // SIZE) + column // SIZE
            by_hand[row, column] = dne.blocks_["auc"].iloc[block]
    np.testing.assert_array_equal(scores, by_hand)
    assert scores[15, 6] > 0.9
    assert display.im_[1].get_clim() == (0.5, 1)  # maps compare from fit to fit
    assert display.axes_.shape == (3,)
    assert display.axes_[1].get_title() == "erased (hatched): 1 of 9 blocks"
    labels = [ax.get_ylabel().replace("\n", " ") for ax in display.figure_.axes]
    assert "AUC of the best probe, block shown alone (0.5 = chance)" in labels


def test_erased_blocks_are_hatched_within_the_image(dne, data):
    display = NoiseDisplay.from_estimator(dne, data[0][:1], kind="blocks")
    assert hatched(display.axes_[1]) == {(5.5, 11.5, 11.5, 15.5)}
    assert [len(ax.patches) for ax in display.axes_[[0, 2]]] == [0, 0]
    display.figure_.canvas.draw()  # warnings are errors here


def test_blocks_without_a_score_have_no_colour(dne, data):
    X = data[0][:1]
    blocks = dne.blocks_.copy()
    blocks.loc[:2, "auc"] = np.nan  # as where the query budget ended the search
    display = NoiseDisplay(dne.noise_, originals=X, edited=dne.edit(X), blocks=blocks)
    mask = np.ma.getmaskarray(display.plot("blocks").im_[1].get_array())
    assert mask[:SIZE].all()
    assert not mask[SIZE:].any()


def test_gates_have_a_map_without_colours(encoder, data):
    solver = GatedErasure(block_size=SIZE, batch_size=32, n_images=60)
    gates = fit(encoder, data, solver)
    assert gates.blocks_["auc"].isna().all()
    display = NoiseDisplay.from_estimator(gates, data[0][:1], kind="blocks")
    assert display.im_[1].get_array().mask.all()
    assert len(hatched(display.axes_[1])) == gates.blocks_["erased"].sum() > 0
    assert len(display.figure_.axes) == 3  # no colour bar
    display.figure_.canvas.draw()


def test_what_the_mask_hides_cannot_overflow(monkeypatch, dne, data):
    X = data[0][:1]
    blocks = dne.blocks_.assign(auc=np.nan)
    display = NoiseDisplay(dne.noise_, originals=X, edited=dne.edit(X), blocks=blocks)
    empty = np.empty

    def used_memory(*args, **kwargs):
        array = empty(*args, **kwargs)
        if array.dtype == float:
            array.fill(np.finfo(float).max)
        return array

    monkeypatch.setattr(np, "empty", used_memory)  # what fresh memory holds is luck
    hidden = display.plot("blocks").im_[1].get_array()
    display.figure_.canvas.draw()  # warnings are errors here
    assert hidden.mask.all()
    assert not hidden.data.any()


def test_nothing_erased_says_so(dne, data):
    X = data[0][:1]
    blocks = dne.blocks_.assign(erased=False)
    display = NoiseDisplay(np.zeros((16, 16)), originals=X, edited=X, blocks=blocks)
    axes = display.plot("blocks").axes_
    assert axes[1].get_title() == "erased (hatched): 0 of 9 blocks"
    assert axes[2].texts[0].get_text() == "no noise"


def test_colour_images(dne):
    X = np.random.default_rng(0).uniform(size=(1, 16, 16, 3))
    display = NoiseDisplay(dne.noise_, originals=X, edited=X / 2, blocks=dne.blocks_)
    original, scores, edited = (im.get_array() for im in display.plot("blocks").im_)
    np.testing.assert_array_equal(original, X[0])
    np.testing.assert_array_equal(edited, X[0] / 2)
    assert scores.shape == (16, 16)


def test_without_blocks_or_images_it_says_what_to_do(dne, encoder, data, tmp_path):
    X = data[0][:1]
    with pytest.raises(ValueError, match="kind='blocks' needs images: give X"):
        NoiseDisplay.from_estimator(dne, kind="blocks")
    dne.save_noise(tmp_path / "noise.safetensors")
    loaded = DebiasedNoiseTransformer.load_noise(tmp_path / "noise.safetensors", encoder)
    for other in (loaded, fit(encoder, data, Adam(max_iter=1))):
        with pytest.raises(ValueError, match=r"blocks_ of a fit with solver='erasure' or 'gates'"):
            NoiseDisplay.from_estimator(other, X, kind="blocks")
    _, axes = plt.subplots(1, 2)
    with pytest.raises(ValueError, match=r"axes must have shape \(3,\) for kind='blocks'"):
        NoiseDisplay.from_estimator(dne, X, kind="blocks", axes=axes)
