"""The phantom radiographs: their ground truth must be true."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skdne.datasets import encoder_training_patients, make_biased_images

CUES = ["patch", "off-grid", "corner", "band", "two", "joint", "global", "none"]
SMALL = {"image_size": 64, "random_state": 0}


def one_cell(y: int, a: str, n: int = 24, **kwargs):
    """Images of one cell only: the same seed gives the same anatomy in every cell."""
    return make_biased_images(cells={(y, a): n}, **(SMALL | kwargs))


def test_shapes_and_dtypes():
    data = make_biased_images(30, image_size=64, random_state=1)
    assert data.images.shape == (30, 64, 64)
    assert data.images.dtype == np.uint8
    assert data.target.dtype == np.int64
    assert set(data.target) == {0, 1}
    assert isinstance(data.sensitive_features, pd.Series)
    assert data.sensitive_features.name == "sex"
    assert set(data.sensitive_features) == {"F", "M"}
    for mask in (data.cue_mask, data.disease_mask):
        assert mask.shape == (64, 64)
        assert mask.dtype == bool


def test_same_seed_same_bits():
    first, second = (make_biased_images(70, **SMALL) for _ in range(2))
    for key in ("images", "target", "cue_mask", "disease_mask"):
        np.testing.assert_array_equal(first[key], second[key])
    pd.testing.assert_series_equal(first.sensitive_features, second.sensitive_features)
    other = make_biased_images(70, image_size=64, random_state=1)
    assert not np.array_equal(first.images, other.images)


def test_anatomy_does_not_depend_on_n():
    many, few = one_cell(1, "M", n=100), one_cell(1, "M", n=10)
    np.testing.assert_array_equal(many.images[:10], few.images)
    assert len(np.unique(many.images.reshape(100, -1), axis=0)) == 100


@pytest.mark.parametrize("cue", CUES)
@pytest.mark.parametrize("size", [64, 96])
def test_groups_differ_on_the_cue_mask_and_nowhere_else(cue, size):
    women, men = (one_cell(0, a, cue=cue, image_size=size, cue_strength=0.2) for a in "FM")
    differs = (women.images != men.images).any(axis=0)
    assert not (differs & ~women.cue_mask).any()
    # In "joint" the first place is a coin; only the second one answers to the group. Elsewhere the
    # two textures may still cross at single pixels.
    covered = 0.45 if cue == "joint" else 0.97
    assert differs.sum() >= covered * women.cue_mask.sum()
    assert women.cue_mask.any() == (cue != "none")
    assert not (women.cue_mask & women.disease_mask).any() or cue in ("band", "global")


def test_joint_places_alone_tell_nothing():
    plain = one_cell(0, "F", n=200, cue="none").images.astype(float)
    tilts = {}
    for a in "FM":
        data = one_cell(0, a, n=200, cue="joint", cue_strength=0.2)
        down, across = np.gradient(data.images - plain, axis=(1, 2))
        # The sign of the product of the two slopes tells rising stripes from falling ones.
        upper = data.cue_mask & (np.arange(64) < 32)[:, None]
        places = upper, data.cue_mask & ~upper
        tilts[a] = [np.sign((down * across)[:, place].mean(axis=1)) for place in places]
    np.testing.assert_array_equal(tilts["F"][0], tilts["M"][0])
    np.testing.assert_array_equal(tilts["F"][1], -tilts["M"][1])
    np.testing.assert_array_equal(tilts["M"][0], tilts["M"][1])
    assert abs(tilts["M"][0].mean()) < 0.25


def test_disease_stays_in_its_zone():
    healthy, diseased = (one_cell(y, "F", n=200, disease_strength=0.6) for y in (0, 1))
    differs = (healthy.images != diseased.images).any(axis=0)
    assert not (differs & ~healthy.disease_mask).any()
    assert differs.sum() > 0.8 * healthy.disease_mask.sum()
    assert (diseased.images >= healthy.images).all()


@pytest.mark.parametrize("cue", ["patch", "off-grid", "corner"])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.7, 1.0])
def test_overlap_is_the_share_of_the_cue_in_the_disease_zone(cue, overlap):
    data = make_biased_images(2, cue=cue, overlap=overlap, random_state=0)
    share = data.cue_mask[data.disease_mask].sum() / data.cue_mask.sum()
    assert overlap <= share <= overlap + 0.08
    women, men = (one_cell(0, a, cue=cue, overlap=overlap) for a in "FM")
    assert not (women.images != men.images).any(axis=0)[~women.cue_mask].any()


def test_aligned_patch_covers_whole_patches():
    mask = make_biased_images(2, random_state=0).cue_mask
    blocks = mask.reshape(8, 16, 8, 16).mean(axis=(1, 3))
    assert set(np.unique(blocks)) == {0.0, 1.0}
    assert blocks.sum() == 4
    shifted = make_biased_images(2, cue="off-grid", random_state=0).cue_mask
    assert len(np.unique(shifted.reshape(8, 16, 8, 16).mean(axis=(1, 3)))) > 2


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 90),
    correlation=st.floats(-1, 1),
    cue=st.sampled_from(CUES),
    strengths=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    seed=st.integers(0, 2**31 - 1),
)
def test_counts(n, correlation, cue, strengths, seed):
    data = make_biased_images(
        n,
        image_size=32,
        cue=cue,
        cue_strength=strengths[0],
        disease_strength=strengths[1],
        correlation=correlation,
        random_state=seed,
    )
    men = (data.sensitive_features == "M").to_numpy()
    assert len(data.images) == len(data.target) == len(men) == n
    agree = (men == data.target).sum()
    assert abs(agree - n * (1 + correlation) / 2) <= 0.5
    assert abs(data.target.sum() - n / 2) <= 1
    assert abs(men.sum() - n / 2) <= 1
    table = pd.crosstab(data.target, men).reindex(index=[0, 1], columns=[False, True]).fillna(0)
    assert abs(table.loc[0, False] - table.loc[1, True]) <= 1
    assert abs(table.loc[0, True] - table.loc[1, False]) <= 1


def test_cells():
    cells = {(0, "M"): 9, (0, "F"): 1, (1, "M"): 7}
    data = make_biased_images(cells=cells, **SMALL)
    made = pd.Series(list(zip(data.target.tolist(), data.sensitive_features, strict=True)))
    assert made.value_counts().to_dict() == cells


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an integer"),
        ({"n_samples": 2.0}, "n_samples must be an integer"),
        ({"image_size": 16}, "image_size must be an integer"),
        ({"image_size": 100}, "image_size must be a multiple of 8"),
        ({"cue": "everywhere"}, "cue must be one of"),
        ({"cue_strength": 1.5}, "cue_strength must be a number"),
        ({"disease_strength": -0.1}, "disease_strength must be a number"),
        ({"disease_strength": np.nan}, "disease_strength must be a number"),
        ({"overlap": 2}, "overlap must be a number"),
        ({"overlap": 0.5, "cue": "band"}, "overlap moves one of the cues"),
        ({"correlation": -1.01}, "correlation must be a number"),
        ({"cells": {(2, "M"): 3}}, r"cells must have keys .* got \[\(2, 'M'\)\]"),
        ({"cells": {(1, "M"): -3}}, r"cells\[\(1, 'M'\)\] must be an integer"),
        ({"cells": {(1, "M"): 0}}, "cells must hold one image"),
        ({"random_state": "seed"}, "seed"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_biased_images(**arguments)


def test_training_patients_are_patients_of_nih(nih_cxr):
    everyone = set(pd.read_csv(nih_cxr / "metadata.csv")["patient_id"])
    used = encoder_training_patients()
    assert used == sorted(set(used))
    assert set(used) < everyone
    assert 0.4 < len(used) / len(everyone) < 0.6
