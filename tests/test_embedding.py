"""Several edits as one stream: full batches, the same embeddings, a budget that ends it midway."""

import numpy as np
import pytest
import torch
from remote_encoder import RemoteEncoder, Service

from skdne.budget import BudgetExhaustedError, QueryBudget
from skdne.embedding import embed_edits
from skdne.images import check_images

IMAGES = check_images(np.random.default_rng(0).random((9, 8, 8)), input_size=(8, 8), n_channels=1)
EDITS = [
    (None, np.arange(5)),
    (torch.full((1, 8, 8), 0.3), np.arange(9)),
    (torch.full((1, 8, 8), -0.2), np.array([7, 2, 4])),
]


def test_edits_share_full_batches_and_come_back_apart():
    service = Service()
    encoder = RemoteEncoder(service=service, batch_size=4)
    found = list(embed_edits(encoder, IMAGES, EDITS, True))
    assert service.n_requests == 5  # 17 images, not 2 + 3 + 1 requests
    for (noise, rows), Z in zip(EDITS, found, strict=True):
        x = IMAGES.batch(rows)
        x = x if noise is None else np.clip(x + noise.numpy(), 0, 1)
        alone = np.concatenate([encoder.embed(image[None]) for image in x])
        np.testing.assert_allclose(Z, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_the_budget_paid_for_is_handed_out_before_it_ends(concurrency):
    service = Service()
    encoder = RemoteEncoder(service=service, batch_size=16, concurrency=concurrency)
    budget = QueryBudget(15)
    found = embed_edits(encoder, IMAGES, EDITS, True, budget)
    assert len(next(found)) == 5
    assert len(next(found)) == 9
    with pytest.raises(BudgetExhaustedError):
        next(found)
    assert budget.spent == budget.sent == service.n_images == 14


def test_every_value_is_one_that_the_encoder_returned(monkeypatch):
    """Also of edits without rows, of edits that end within a batch and of those that span three."""
    numbers = [0, 5, 0, 1, 9, 0]
    edits = [(None, np.arange(n)) for n in numbers]
    encoder = RemoteEncoder(service=Service(), batch_size=4)
    alone = encoder.embed(IMAGES.batch(np.arange(4)))
    empty = np.empty

    def used_memory(*args, **kwargs):
        array = empty(*args, **kwargs)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    monkeypatch.setattr(np, "empty", used_memory)  # what fresh memory holds is luck
    found = list(embed_edits(encoder, IMAGES, edits, True))
    assert found[0].shape == (0, 0)  # nothing has come that could tell the length
    assert [Z.shape for Z in found[1:]] == [(n, alone.shape[1]) for n in numbers[1:]]
    for Z in found[1:]:
        assert np.isfinite(Z).all()
        np.testing.assert_allclose(Z[:4], alone[: len(Z)], rtol=1e-5, atol=1e-6)
