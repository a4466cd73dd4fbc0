"""The canary: a service that changes its model is noticed, one that does not is left in peace."""

import numpy as np
import pytest
from helpers import small_images
from hypothesis import given
from hypothesis import strategies as st
from query_fits import ERASURE, GEZO, SPSA_, fit, make_dne
from remote_encoder import RemoteEncoder, Service
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skdne import DebiasedNoiseTransformer, EncoderChangedError
from skdne.budget import BudgetExhaustedError, QueryBudget
from skdne.canary import Canary, canary_images

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


def longer(vectors):
    return np.column_stack([vectors, vectors[:, :1]])


def other_weights(vectors):
    return vectors + 0.01 * np.roll(vectors, 1, axis=1)


def half(vectors):
    return vectors.astype(np.float16)


def brain_float(vectors):
    """Rounded to bfloat16: the upper 16 bits of a float32."""
    bits = np.ascontiguousarray(vectors, dtype=np.float32).view(np.uint32)
    return ((bits + 0x8000) & 0xFFFF0000).view(np.float32)


def jitter(vectors):
    """What another order of additions does to a float32."""
    return vectors * np.float32(1 + 2e-6)


CHANGES = [longer, other_weights, half, brain_float]


class Local(RemoteEncoder):
    remote = False


def make_canary(service, budget=None, reference=None, **options):
    encoder = RemoteEncoder(service=service, **options)
    return Canary(encoder, (1, 8, 8), budget or QueryBudget(), reference)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_noticed_and_the_message_says_what_to_do(change):
    service = Service()
    canary = make_canary(service)
    canary.check()
    canary.budget.send(1)
    canary.check()
    service.change = change
    canary.budget.send(1)
    what = "12 values, they have 13 now" if change is longer else r"moved by .* of their length"
    with pytest.raises(EncoderChangedError, match=rf"{what}.*served again, or fit anew"):
        canary.check()


def test_the_same_model_passes_whatever_its_last_digits():
    service = Service()
    canary = make_canary(service)
    canary.check()
    service.change = jitter
    canary.budget.send(1)
    canary.check()
    assert service.n_images == 8


@pytest.mark.parametrize("batch_size", [1, 3, 4, 64])
def test_the_canary_keeps_to_the_batch_size(batch_size):
    service = Service()
    make_canary(service, batch_size=batch_size).check()
    assert service.n_images == 4
    assert service.n_requests == -(-4 // batch_size)


@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40))
def test_canary_images_are_fixed_images_of_any_shape(channels, height, width):
    images = canary_images((channels, height, width))
    assert images.shape == (4, channels, height, width)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    np.testing.assert_array_equal(images, canary_images((channels, height, width)))


def test_it_is_asked_again_only_where_something_was_sent_but_always_counted():
    service, budget = Service(), QueryBudget()
    canary = make_canary(service, budget)
    for _ in range(3):
        canary.check()
    assert (service.n_images, budget.sent, budget.spent) == (4, 4, 12)
    budget.send(5)
    canary.check()
    canary.check()
    assert (service.n_images, budget.sent, budget.spent) == (8, 13, 20)


def test_what_others_send_during_a_check_is_for_the_next():
    service, budget = Service(), QueryBudget()
    canary = make_canary(service, budget)

    def meanwhile(vectors):
        budget.send(3)  # by another thread
        return vectors

    service.change = meanwhile
    canary.check()
    canary.check()
    assert service.n_images == 8


def test_it_keeps_within_the_budget_and_counts_what_is_sent_again():
    service = Service()
    service.fails_from = 0
    canary = make_canary(service, QueryBudget(11))
    with pytest.raises(BudgetExhaustedError):
        canary.check()
    assert service.n_images == canary.budget.sent == 8
    assert canary.reference is None


def test_an_encoder_on_this_machine_is_not_asked():
    service = Service()
    canary = Canary(Local(service=service), (1, 8, 8), QueryBudget(1))
    canary.check()
    assert (service.n_images, canary.cost, canary.reference) == (0, 0, None)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("flight", [1, 4])
@pytest.mark.parametrize("solver", [GEZO, SPSA_, ERASURE], ids=["gezo", "spsa", "erasure"])
def test_a_model_that_changes_during_a_fit_is_noticed(solver, flight, change):
    service = Service()
    answer, n = service.answer, 47

    def changing(pixels):
        if service.n_images > 2 * n:  # well within the noise fit
            service.change = change
        return answer(pixels)

    service.answer = changing
    dne = make_dne(solver, service, flight=flight)
    mixed = "vectors of different lengths"  # both lengths in one stream of requests
    with pytest.raises(EncoderChangedError, match=f"model behind|{mixed}"):
        fit(dne)
    assert not hasattr(dne, "noise_")


def test_a_change_in_the_last_batch_of_the_noise_fit_is_noticed():
    service = Service()
    plan = make_dne(GEZO, service).estimate_queries(47)
    n_epochs = plan.most - 47 - 4  # all but the final embeddings and the check before them
    answer = service.answer

    def changing(pixels):
        if service.n_images >= n_epochs - 8:  # in the last batch of the last epoch
            service.change = half
        return answer(pixels)

    service.answer = changing
    with pytest.raises(EncoderChangedError, match="since the fit began"):
        fit(make_dne(GEZO, service))


def test_transform_looks_at_the_canary_first():
    service = Service()
    dne = fit(make_dne(SPSA_, service))
    assert dne.canary_.shape == (4, 12)
    X, _, _ = small_images(20, seed=2)
    before = service.n_images
    Z = dne.transform(X)
    assert service.n_images == before + 4 + 20
    service.change = half
    with pytest.raises(EncoderChangedError, match="since the fit began"):
        dne.transform(X)
    assert service.n_images == before + 4 + 20 + 4  # and none of the images
    service.change = jitter
    np.testing.assert_allclose(dne.transform(X), Z, rtol=1e-4)


def test_in_a_pipeline_too():
    service = Service()
    X, y, a = small_images(47)
    pipe = make_pipeline(make_dne(None, service), LogisticRegression())
    pipe.fit(X, y, debiasednoisetransformer__sensitive_features=a)
    service.change = other_weights
    with pytest.raises(EncoderChangedError):
        pipe.predict(X)


def test_a_saved_noise_brings_its_canary(tmp_path):
    service = Service()
    dne = fit(make_dne(GEZO, service))
    dne.save_noise(tmp_path / "noise.safetensors")
    loaded = DebiasedNoiseTransformer.load_noise(tmp_path / "noise.safetensors", dne.encoder)
    np.testing.assert_array_equal(loaded.canary_, dne.canary_)
    X, _, _ = small_images(5)
    np.testing.assert_array_equal(loaded.transform(X), dne.transform(X))
    service.change = brain_float
    with pytest.raises(EncoderChangedError, match="since the fit began"):
        loaded.transform(X)


def test_a_noise_of_a_local_encoder_has_none(tmp_path):
    dne = fit(make_dne(None, encoder=Local()))
    assert dne.canary_ is None
    dne.save_noise(tmp_path / "noise.safetensors")
    loaded = DebiasedNoiseTransformer.load_noise(tmp_path / "noise.safetensors", dne.encoder)
    assert loaded.canary_ is None
    loaded.transform(small_images(5)[0])


@pytest.mark.parametrize("change", CHANGES)
def test_a_store_keeps_the_first_canary_and_refuses_a_changed_model(tmp_path, change):
    service = Service()
    encoder = RemoteEncoder(service=service, store=tmp_path / "store.sqlite")
    dne = DebiasedNoiseTransformer(encoder, solver=None, leakage=False, random_state=0)
    first = fit(dne)
    kept = encoder.open_store().canary()
    np.testing.assert_array_equal(kept, first.canary_)
    service.change = jitter
    fit(dne)
    np.testing.assert_array_equal(encoder.open_store().canary(), kept)
    service.change = change
    before = service.n_images
    with pytest.raises(EncoderChangedError, match=r"since the store .*store.sqlite was made"):
        fit(dne)
    assert service.n_images == before + 4
    np.testing.assert_array_equal(encoder.open_store().canary(), kept)
    service.change = lambda vectors: vectors  # the old model served again
    fit(dne)


def test_what_a_changed_model_put_into_the_store_leaves_it_again(tmp_path):
    service = Service()
    encoder = RemoteEncoder(service=service, store=tmp_path / "store.sqlite")
    canary = Canary(encoder, (1, 8, 8), QueryBudget())
    batches = np.random.default_rng(0).random((3, 5, 1, 8, 8), dtype=np.float32)

    def embed(batch):
        return next(encoder.embed_batches([batch], canary.budget.send))

    canary.check()
    good = embed(batches[0])
    canary.check()  # vouches for them
    service.change = other_weights
    embed(batches[1])
    with pytest.raises(EncoderChangedError, match="5 embeddings newer than the last check left"):
        canary.check()
    service.change = lambda vectors: vectors
    n_before = service.n_images
    np.testing.assert_array_equal(embed(batches[0]), good)
    assert service.n_images == n_before  # the good ones are still there
    embed(batches[1])
    assert service.n_images == n_before + 5


def test_a_process_killed_before_the_check_leaves_nothing_to_the_next(tmp_path):
    """Its embeddings of the changed model are in the store; the next canary throws them out."""
    service = Service()
    encoder = RemoteEncoder(service=service, store=tmp_path / "store.sqlite")
    Canary(encoder, (1, 8, 8), QueryBudget()).check()
    service.change = half
    images = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)
    next(encoder.embed_batches([images]))  # and then the process is gone
    with pytest.raises(EncoderChangedError, match="5 embeddings newer"):
        Canary(encoder, (1, 8, 8), QueryBudget()).check()
    assert encoder.open_store().newest() == 0


def test_a_change_between_two_steps_is_noticed_before_g_stumbles_over_it():
    """Requests as large as a step: no one of them holds embeddings of both lengths."""
    service = Service()
    service.change = lambda vectors: (
        longer(vectors) if service.n_requests > 3 else vectors
    )  # a step
    encoder = RemoteEncoder(service=service, batch_size=256)
    with pytest.raises(EncoderChangedError, match="had 12 values, they have 13 now"):
        fit(make_dne(GEZO, encoder=encoder))
