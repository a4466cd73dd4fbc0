"""Encoders: immutable, cheap to clone, stable to hash and pickle, frozen, checked."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skdne import CallableEncoder, DebiasedNoiseTransformer, TimmEncoder, TorchEncoder
from skdne.encoders import Encoder, _torch, as_encoder, bundled_encoder

IMAGES = np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32)


def convnet(seed: int = 0) -> nn.Module:
    """Build a small network with BatchNorm and dropout, so that training mode would show."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Dropout(0.5), nn.Flatten()
        )
        module[1].running_mean.normal_()
    return module


class Buffered(nn.Module):
    """Persistent and other buffers, tied weights, bfloat16 weights."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64, dtype=torch.bfloat16)
        self.second = nn.Linear(64, 64, dtype=torch.bfloat16)
        self.second.weight = self.first.weight
        self.register_buffer("kept", torch.rand(64))
        self.register_buffer("not_kept", torch.rand(64), persistent=False)

    def forward(self, x):
        z = self.second(self.first(x.flatten(1).to(torch.bfloat16)))
        return z.float() * self.kept + self.not_kept


def row_means(images):
    return images.mean(axis=(1, 3))


ENCODERS = [
    TorchEncoder(convnet(), precision="float32"),
    TorchEncoder(Buffered(), precision="float32", mean=0.5, std=[0.25]),
    CallableEncoder(row_means),
    TimmEncoder("hf-hub:nobody/nothing", pooling=(2, 2)),
    bundled_encoder(),
]


def test_repr_is_one_short_line_of_what_was_given():
    deep = nn.Sequential(*(nn.Linear(8, 8) for _ in range(200)))
    encoder = TorchEncoder(deep, input_size=(4, 8), mean=0.5)
    assert repr(encoder) == "TorchEncoder(Sequential(...), input_size=(4, 8), mean=0.5)"
    assert repr(CallableEncoder(len, name="m")) == "CallableEncoder(len, name='m')"
    assert repr(CallableEncoder(nn.Identity())) == "CallableEncoder(Identity(...))"
    timm_encoder = TimmEncoder("resnet18", checkpoint="w.pth")
    assert repr(timm_encoder) == "TimmEncoder('resnet18', checkpoint='w.pth')"
    html = DebiasedNoiseTransformer(encoder)._repr_html_()
    assert "TorchEncoder(Sequential(...)" in html
    assert "Linear" not in html


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_immutable_and_its_own_clone(encoder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        encoder.batch_size = 3
    assert clone(encoder) is encoder
    assert not hasattr(encoder, "set_params")
    assert not hasattr(encoder, "get_params")
    assert hash(encoder) == hash(encoder)
    assert as_encoder(encoder) is encoder


@pytest.mark.parametrize("encoder", ENCODERS[:3], ids=lambda e: type(e).__name__)
def test_pickles_embed_and_hash_alike(encoder):
    before = joblib.hash(encoder)
    twin = pickle.loads(pickle.dumps(encoder))
    np.testing.assert_array_equal(twin.embed(IMAGES), encoder.embed(IMAGES))
    assert joblib.hash(encoder) == before
    assert joblib.hash(twin) == before
    assert joblib.hash(copy.deepcopy(twin)) == before
    assert twin.fingerprint == encoder.fingerprint


def test_every_tensor_survives_pickling_bit_for_bit():
    encoder = ENCODERS[1]
    twin = pickle.loads(pickle.dumps(encoder))
    here, there = (
        {**dict(e.module.named_buffers()), **e.module.state_dict()} for e in (encoder, twin)
    )
    assert here.keys() == there.keys()
    assert {"kept", "not_kept", "first.weight", "second.weight"} <= here.keys()
    for name, tensor in here.items():
        assert there[name].dtype == tensor.dtype
        assert torch.equal(there[name], tensor), name


def test_equal_specifications_are_equal_encoders_and_others_are_not():
    assert TimmEncoder("resnet18", model_kwargs={"a": [1], "b": 2}) == TimmEncoder(
        "resnet18", model_kwargs={"b": 2, "a": (1,)}
    )
    assert TimmEncoder("resnet18") != TimmEncoder("resnet18", pooling=(2, 2))
    assert TimmEncoder("resnet18") != "resnet18"
    assert TorchEncoder(convnet(0)) != TorchEncoder(convnet(1))
    one, same, other = (TorchEncoder(convnet(s), mean=m) for s, m in ((0, 0.5), (0, 0.5), (1, 0.5)))
    assert joblib.hash(one) == joblib.hash(same) != joblib.hash(other)


_IN_ANOTHER_PROCESS = """
import pickle, sys
import joblib, torch
from torch import nn
from skdne import TimmEncoder, TorchEncoder

def same_here_and_there():
    module = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 3))
    for parameter in module.parameters():
        nn.init.constant_(parameter, 0.5)
    encoders = TorchEncoder(module), TimmEncoder("resnet18", model_kwargs={"in_chans": 1})
    return joblib.hash(encoders)

class OfANotebook(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))

if __name__ == "__main__":
    result = same_here_and_there(), pickle.dumps(TorchEncoder(OfANotebook()))
    sys.stdout.buffer.write(pickle.dumps(result))
"""


def test_hash_and_pickles_hold_in_another_process():
    run = [sys.executable, "-c", _IN_ANOTHER_PROCESS]
    there, pickled = pickle.loads(subprocess.run(run, capture_output=True, check=True).stdout)
    namespace = {"__name__": "not main"}
    exec(_IN_ANOTHER_PROCESS, namespace)
    assert namespace["same_here_and_there"]() == there
    # a class of __main__ there, which nobody can import here
    vectors = pickle.loads(pickled).embed(np.ones((2, 1, 4, 4), np.float32))
    np.testing.assert_array_equal(vectors, np.ones((2, 1)))


def test_workers_of_joblib_embed_alike():
    encoder = ENCODERS[0]
    run = joblib.delayed(lambda e: (e.embed(IMAGES), joblib.hash(e)))
    for vectors, its_hash in joblib.Parallel(n_jobs=2)(run(encoder) for _ in range(2)):
        np.testing.assert_allclose(vectors, encoder.embed(IMAGES), atol=1e-6)
        assert its_hash == joblib.hash(encoder)


def test_modules_are_frozen_and_in_eval_mode_also_after_train():
    encoder = TorchEncoder(convnet(), precision="float32")
    first = encoder.embed(IMAGES)
    images = torch.from_numpy(IMAGES).requires_grad_(True)
    encoder.forward(images).sum().backward()
    assert images.grad is not None
    assert all(p.grad is None and not p.requires_grad for p in encoder.module.parameters())
    encoder.module.train()  # its owner may do that
    np.testing.assert_array_equal(encoder.embed(IMAGES), first)
    assert not any(m.training for m in encoder.module.modules())


@pytest.mark.parametrize("encoder", [ENCODERS[0], ENCODERS[4]], ids=["batch norm", "bundled"])
def test_embeddings_do_not_depend_on_the_batch(encoder):
    size = encoder.input_size or (8, 8)
    images = np.random.default_rng(1).random((5, 1, *size), dtype=np.float32)
    together = encoder.embed(images)
    alone = np.concatenate([encoder.embed(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: np.ones((len(x) - 1, 2)), r"shape \(4, 2\) for 5 images"),
        (lambda x: np.ones(len(x)), r"expected \(5, n_features\)"),
        (lambda x: None, r"shape \(\) for 5 images"),
        (lambda x: [["a"]] * len(x), "expected numbers"),
        (lambda x: np.full((len(x), 2), 1j), "expected numbers"),
        (lambda x: [[1.0], [1.0, 2.0]], "different lengths"),
        (
            lambda x: np.where(np.arange(5)[:, None] == 3, np.nan, 1.0),
            r"rows \[3\] of a batch of 5",
        ),
        (lambda x: np.where(np.arange(5)[:, None] > 2, 1e300, 1.0), r"rows \[3, 4\]"),
    ],
)
def test_wrong_vectors_are_refused_by_name(function, message):
    with pytest.raises(ValueError, match=message):
        CallableEncoder(function).embed(IMAGES)


def test_a_function_that_fails_keeps_its_own_error():
    def fails(images):
        raise ValueError("quota")

    with pytest.raises(ValueError, match=r"^quota$"):
        CallableEncoder(fails).embed(IMAGES)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: TorchEncoder(row_means), TypeError, "module must be"),
        (lambda: CallableEncoder("name"), TypeError, "function must be callable"),
        (lambda: as_encoder(row_means), TypeError, "CallableEncoder"),
        (lambda: as_encoder(nn.Flatten()), TypeError, "TorchEncoder"),
        (lambda: CallableEncoder(row_means, batch_size=0), ValueError, "batch_size"),
        (lambda: CallableEncoder(row_means, input_size=224), ValueError, "input_size must be two"),
        (lambda: TorchEncoder(nn.Flatten(), precision="half"), ValueError, "precision"),
        (lambda: TorchEncoder(nn.Flatten(), std=0), ValueError, "std must be positive"),
        (lambda: TorchEncoder(nn.Flatten(), mean=(0.5, np.nan)), ValueError, "mean"),
        (
            lambda: TorchEncoder(nn.Flatten(), mean=[0.5] * 3).embed(IMAGES),
            ValueError,
            "n_channels=3",
        ),
        (lambda: TorchEncoder(nn.LSTM(8, 8)).embed(IMAGES[:, 0]), TypeError, "returned tuple"),
    ],
)
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_normalisation_comes_before_the_module():
    encoder = TorchEncoder(nn.Flatten(), mean=np.array([0.5]), std=0.25, precision="float32")
    expected = (IMAGES.reshape(5, -1) - 0.5) / 0.25
    np.testing.assert_allclose(encoder.embed(IMAGES.astype(float)), expected, atol=1e-6)
    assert encoder.mean == (0.5,)


def test_fingerprint_follows_what_decides_the_embeddings():
    base = TorchEncoder(convnet()).fingerprint
    assert TorchEncoder(convnet(), batch_size=3, device="cpu").fingerprint == base
    others = [
        TorchEncoder(convnet(1)),
        TorchEncoder(convnet(), mean=0.1),
        TorchEncoder(convnet(), std=0.1),
        TorchEncoder(convnet(), pixel_range=(0, 4095)),
        TorchEncoder(nn.Sequential(convnet(), nn.Tanh())),
    ]
    swapped, changed = convnet(), convnet()
    swapped[2] = nn.ReLU()  # the same weights under the same names
    changed[1].running_var.fill_(2.0)
    others += [TorchEncoder(changed), TorchEncoder(swapped)]
    assert len({base, *(e.fingerprint for e in others)}) == len(others) + 1
    assert (
        CallableEncoder(row_means).fingerprint != CallableEncoder(row_means, name="v2").fingerprint
    )


def test_bfloat16_is_close_to_float32():
    exact, fast = (TorchEncoder(convnet(), precision=p) for p in ("float32", "bfloat16"))
    difference = np.abs(exact.embed(IMAGES) - fast.embed(IMAGES)).max()
    assert 0 < difference < 0.05
    assert fast.embed(IMAGES).dtype == np.float32


@pytest.mark.parametrize(
    ("precision", "device", "capabilities", "expected"),
    [
        ("bfloat16", "cpu", {}, True),
        ("float32", "cpu", {"avx512_bf16": True}, False),
        ("auto", "cpu", {"avx512_bf16": True}, True),
        ("auto", "cpu", {"amx_bf16": True, "avx2": True}, True),
        ("auto", "cpu", {"avx512_bf16": False, "avx2": True}, False),
        ("auto", "cpu", None, False),
        ("auto", "mps", {"avx512_bf16": True}, False),
        ("auto", "cuda", {}, True),
    ],
)
def test_auto_precision_asks_the_hardware(monkeypatch, precision, device, capabilities, expected):
    old_torch = SimpleNamespace()  # torch < 2.7 has no get_capabilities
    new_torch = SimpleNamespace(get_capabilities=lambda: capabilities)
    monkeypatch.setattr(torch, "cpu", old_torch if capabilities is None else new_torch)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert _torch.runs_in_bfloat16(precision, torch.device(device)) is expected


def test_the_base_class_embeds_nothing():
    with pytest.raises(NotImplementedError):
        Encoder().embed(IMAGES)
