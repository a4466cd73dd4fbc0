"""The objective is Eq. 2, and its gradient agrees with finite differences."""

import numpy as np
import pytest
import torch
from helpers import small_encoder, small_images
from sklearn.linear_model import LogisticRegression

from skdne.attribute_classifier import AttributeClassifier
from skdne.budget import BudgetExhaustedError, QueryBudget
from skdne.images import check_images
from skdne.noise import NoiseSpace
from skdne.objective import OBJECTIVES, Objective


def make_objective(
    objective="cross_entropy", *, clip=False, grid_size=None, weights=None, **kwargs
):
    X, _, a = small_images(40)
    encoder = small_encoder()
    images = check_images(X, n_channels=1)
    codes = (a == "M").astype(np.int64)
    g = AttributeClassifier(LogisticRegression(C=1.0), np.array(["F", "M"]))
    g.fit(encoder.embed(images.batch(np.arange(40))), codes, np.ones(40))
    return Objective(
        encoder,
        images,
        np.arange(40),
        codes,
        np.ones(40) if weights is None else weights,
        g,
        NoiseSpace((1, 8, 8), grid_size=grid_size),
        objective=objective,
        reg_lambda=kwargs.pop("reg_lambda", 0.1),
        clip=clip,
        budget=QueryBudget(kwargs.pop("limit", None)),
    )


def direction(shape, seed=1, scale=0.1):
    return torch.from_numpy(np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32))


def test_value_is_equation_2_written_out():
    L = make_objective(reg_lambda=0.3)
    eps = direction((1, 8, 8))
    rows = np.arange(5, 25)
    Z = L.encoder.embed(L.images.batch(rows) + eps.numpy())
    p = L.attribute_classifier.estimator.predict_proba(Z)
    cross_entropy = -np.log(p[np.arange(20), L.codes[rows]])
    expected = -cross_entropy.mean() + 0.3 * np.sqrt((eps.numpy() ** 2).sum())
    assert L.value(eps, rows) == pytest.approx(expected, rel=1e-5)


def test_confusion_is_the_cross_entropy_to_the_uniform_distribution():
    L = make_objective("confusion", reg_lambda=0.0)
    rows = np.arange(40)
    p = L.attribute_classifier.estimator.predict_proba(L.encoder.embed(L.images.batch(rows)))
    expected = -(0.5 * np.log(p)).sum(axis=1).mean()
    assert L.value(L.space.zeros(), rows) == pytest.approx(expected, rel=1e-5)
    assert expected > np.log(2)  # its minimum, reached where g cannot tell


def test_weights_are_relative_to_the_set():
    weights = np.where(np.arange(40) < 10, 3.0, 1.0)
    L = make_objective(reg_lambda=0.0, weights=weights)
    zero, rows = L.space.zeros(), np.arange(5, 15)
    each = np.array([L.value(zero, np.array([row]), np.ones(1)) for row in range(40)])
    expected = np.mean(each[rows] * weights[rows] / 1.5)  # 1.5 is their mean over the set
    assert L.value(zero, rows) == pytest.approx(expected, rel=1e-5)
    assert L.value(zero, np.arange(40)) == pytest.approx(np.average(each, weights=weights))
    part = L.subset(rows)  # has a mean of its own
    of_part = np.average(each[rows], weights=weights[rows])
    assert part.value(zero, np.arange(10)) == pytest.approx(of_part, rel=1e-5)


def test_value_of_embeddings_is_that_of_the_images_they_are_of():
    """Whatever the scale of the weights."""
    weights = 1 + np.arange(40) / 10
    L = make_objective(weights=weights)
    theta, rows = direction((1, 8, 8)), np.arange(40)
    Z = L.embed(L.space.expand(theta), rows)
    found = L.value_of_embeddings(
        L.attribute_classifier, Z, L.codes, 5 * weights, L.space.expand(theta)
    )
    assert found == pytest.approx(L.value(theta, rows), rel=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("grid_size", [None, 3])
@pytest.mark.parametrize("clip", [False, True])
def test_gradient_agrees_with_finite_differences(objective, grid_size, clip):
    L = make_objective(objective, grid_size=grid_size, clip=clip)
    theta = direction(L.space.shape)
    rows = np.arange(40)
    value, gradient = L.value_and_gradient(theta, rows)
    assert value == pytest.approx(L.value(theta, rows), abs=1e-5)
    for seed in range(5):
        u = direction(L.space.shape, seed=seed, scale=1.0)
        h = 1e-3
        numeric = (L.value(theta + h * u, rows) - L.value(theta - h * u, rows)) / (2 * h)
        assert float((gradient * u).sum()) == pytest.approx(numeric, rel=2e-2, abs=2e-3)


def test_gradient_of_the_penalty_at_zero_is_zero():
    L = make_objective(reg_lambda=0.0)
    penalised = make_objective(reg_lambda=5.0)
    rows = np.arange(40)
    _, plain = L.value_and_gradient(L.space.zeros(), rows)
    _, with_penalty = penalised.value_and_gradient(L.space.zeros(), rows)
    torch.testing.assert_close(plain, with_penalty)


def test_chunks_of_the_encoders_batch_size_change_nothing():
    L = make_objective()
    theta = direction((1, 8, 8))
    value, gradient = L.value_and_gradient(theta, np.arange(40))
    object.__setattr__(L.encoder, "batch_size", 7)
    in_chunks = L.value_and_gradient(theta, np.arange(40))
    assert in_chunks[0] == pytest.approx(value, rel=1e-5)
    torch.testing.assert_close(in_chunks[1], gradient, rtol=1e-4, atol=1e-6)


def test_every_image_is_counted_and_the_limit_is_never_passed():
    L = make_objective(limit=50)
    L.value(L.space.zeros(), np.arange(20))
    L.value_and_gradient(L.space.zeros(), np.arange(20))
    assert L.budget.spent == 40
    with pytest.raises(BudgetExhaustedError, match="max_queries=50"):
        L.value(L.space.zeros(), np.arange(11))
    assert L.budget.spent == 40


def test_retrained_classifier_reads_the_edited_images():
    L = make_objective()
    theta = direction((1, 8, 8), scale=0.5)
    before = L.attribute_classifier.estimator.coef_.copy()
    g = L.retrained(theta)
    rows = np.arange(40)
    Z = L.embed(L.space.expand(theta), rows)
    expected = LogisticRegression(C=1.0).fit(Z, L.attribute_classifier.classes[L.codes])
    np.testing.assert_allclose(g.estimator.coef_, expected.coef_, rtol=1e-5)
    np.testing.assert_array_equal(L.attribute_classifier.estimator.coef_, before)
    assert not np.allclose(before, expected.coef_)
