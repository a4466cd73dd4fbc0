"""TimmEncoder without a network: names, checkpoints, pooling, normalisation."""

import argparse
import os
import pickle
import subprocess
import sys
from types import SimpleNamespace

import huggingface_hub.constants
import joblib
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn.functional import layer_norm

from skdne import TimmEncoder, bundled_encoder

VIT = "vit_tiny_patch16_224"
SMALL = {"img_size": 48, "depth": 2, "embed_dim": 24, "num_heads": 2}
SWIN = {"img_size": 56, "embed_dim": 12, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 2, 2)}
IMAGES = np.random.default_rng(0).random((3, 3, 48, 48), dtype=np.float32)
X = torch.from_numpy(IMAGES)


def build(name=VIT, **kwargs):
    """Build timm's own model with weights that are not at their initial values."""
    model = timm.create_model(name, pretrained=False, **kwargs).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dtype == torch.float32:
            tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
    return model


def saved(path, content):
    (save_file if path.suffix == ".safetensors" else torch.save)(content, path)
    return path


def encoder_of(path, name=VIT, kwargs=SMALL, **options):
    return TimmEncoder(
        name, checkpoint=path, model_kwargs=kwargs, precision="float32", device="cpu", **options
    )


def tokens_of(vit):
    """Tokens before the last norm, by hand."""
    tokens = vit.patch_embed(X)
    tokens = torch.cat([vit.cls_token.expand(len(X), -1, -1), tokens], dim=1) + vit.pos_embed
    for block in vit.blocks:
        tokens = block(tokens)
    return tokens


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("num_classes", [0, 5])
def test_pooling_of_a_plain_state_dict(tmp_path, suffix, num_classes):
    vit = build(**SMALL, num_classes=num_classes)
    path = saved(tmp_path / f"weights{suffix}", vit.state_dict())
    normed = vit.norm(tokens_of(vit))
    patches = normed[:, 1:].reshape(3, 3, 3, 24)  # rows, columns, features
    # 3 x 3 patches on a 2 x 2 grid: the middle belongs to both sides, as adaptive pooling has it
    corners = [patches[:, r : r + 2, c : c + 2].mean((1, 2)) for r in (0, 1) for c in (0, 1)]
    expected = {
        "avg": normed[:, 1:].mean(1),
        "token": normed[:, 0],
        (3, 3): patches.permute(0, 3, 1, 2).flatten(1),
        (2, 2): torch.stack(corners, dim=2).flatten(1),
    }
    for pooling, vectors in expected.items():
        found = encoder_of(path, pooling=pooling).embed(IMAGES)
        np.testing.assert_allclose(found, vectors, atol=1e-6, err_msg=str(pooling))


def masked_autoencoder(**extra):
    """Weights and layout of facebookresearch/mae and Medical_MAE: save_model in util/misc.py."""
    vit = build(**SMALL, num_classes=0)
    decoder = {
        "mask_token": torch.rand(1, 1, 8),
        "decoder_pos_embed": torch.rand(1, 10, 8),
        "decoder_embed.weight": torch.rand(8, 24),
        "decoder_blocks.0.norm1.weight": torch.rand(8),
        "decoder_norm.bias": torch.rand(8),
        "decoder_pred.bias": torch.rand(768),
    }
    content = {
        "model": {**vit.state_dict(), **decoder, **extra},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95)}]},
        "epoch": 799,
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
        "args": argparse.Namespace(model="mae_vit", lr=None, output_dir="./out", mask_ratio=0.75),
    }
    return vit, content


def test_masked_autoencoder_as_its_authors_pool_it(tmp_path):
    vit, content = masked_autoencoder()
    path = saved(tmp_path / "checkpoint-799.pth", content)
    tokens = tokens_of(vit)
    fresh = layer_norm(tokens[:, 1:].mean(1), (24,), eps=1e-6)
    np.testing.assert_allclose(encoder_of(path).embed(IMAGES), fresh, atol=1e-6)
    token = vit.norm(tokens)[:, 0]
    np.testing.assert_allclose(encoder_of(path, pooling="token").embed(IMAGES), token, atol=1e-6)


def test_fine_tuned_fc_norm_is_used_where_the_checkpoint_has_it(tmp_path):
    vit, content = masked_autoencoder()
    weight, bias = torch.rand(24), torch.rand(24)
    content["model"] = {k: v for k, v in vit.state_dict().items() if not k.startswith("norm.")} | {
        "fc_norm.weight": weight,
        "fc_norm.bias": bias,
        "head.weight": torch.rand(5, 24),
        "head.bias": torch.rand(5),
    }
    path = saved(tmp_path / "finetuned.pth", content)
    expected = layer_norm(tokens_of(vit)[:, 1:].mean(1), (24,), weight, bias, eps=1e-6)
    np.testing.assert_allclose(encoder_of(path).embed(IMAGES), expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"missing \['norm.weight'"):
        encoder_of(path, pooling="token").load()


def test_a_wrapped_supervised_checkpoint_keeps_its_norm(tmp_path):
    vit = build(**SMALL, num_classes=5)
    path = saved(tmp_path / "deit.pth", {"model": vit.state_dict()})
    expected = vit.norm(tokens_of(vit))[:, 1:].mean(1)
    np.testing.assert_allclose(encoder_of(path).embed(IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet10t", "test_convnext"])
def test_convolutional_maps_are_pooled(tmp_path, name):
    net = build(name)
    path = saved(tmp_path / "weights.pth", net.state_dict())
    maps = net.forward_features(X)
    found = encoder_of(path, name, None, input_size=(48, 48))
    np.testing.assert_allclose(found.embed(IMAGES), maps.mean((2, 3)), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="no class token"):
        encoder_of(path, name, None, pooling="token").embed(IMAGES)


def test_channels_last_maps_are_pooled(tmp_path):
    name = "swin_tiny_patch4_window7_224"
    net = build(name, **SWIN)
    path = saved(tmp_path / "weights.pth", net.state_dict())
    images = np.random.default_rng(0).random((2, 3, 56, 56), dtype=np.float32)
    maps = net.forward_features(torch.from_numpy(images))
    assert maps.shape == (2, 2, 2, 96)
    encoders = [encoder_of(path, name, SWIN, pooling=p) for p in ("avg", (2, 2))]
    np.testing.assert_allclose(encoders[0].embed(images), maps.mean((1, 2)), atol=1e-5)
    grid = maps.permute(0, 3, 1, 2).flatten(1)
    np.testing.assert_allclose(encoders[1].embed(images), grid, atol=1e-5)


def test_other_sizes_where_the_model_takes_them(tmp_path):
    kwargs = {**SMALL, "dynamic_img_size": True}
    path = saved(tmp_path / "weights.pth", build(**SMALL).state_dict())
    encoder = encoder_of(path, kwargs=kwargs, input_size=(64, 32), pooling=(4, 2))
    assert encoder.embed(np.ones((1, 3, 64, 32), np.float32)).shape == (1, 4 * 2 * 24)


def test_the_module_is_frozen_shared_and_never_pickled(tmp_path):
    path = saved(tmp_path / "weights.pth", build(**SMALL).state_dict())
    encoder, equal = encoder_of(path), encoder_of(path)
    before = joblib.hash(encoder), hash(encoder)
    images = X.clone().requires_grad_(True)
    encoder.forward(images).sum().backward()
    module = encoder._module()
    assert images.grad.abs().sum() > 0
    assert not module.training
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())
    assert equal._module() is module
    assert equal == encoder
    assert (joblib.hash(encoder), hash(encoder)) == before == (joblib.hash(equal), hash(equal))
    assert len(pickle.dumps(encoder)) < 1000
    assert pickle.loads(pickle.dumps(encoder)) == encoder


def test_fingerprint_follows_weights_pooling_and_normalisation(tmp_path):
    vit = build(**SMALL)
    path = saved(tmp_path / "weights.pth", vit.state_dict())
    copied = saved(tmp_path / "copy.safetensors", vit.state_dict())
    vit.cls_token += 1
    other = saved(tmp_path / "other.pth", vit.state_dict())
    base = encoder_of(path).fingerprint
    assert encoder_of(copied, batch_size=2).fingerprint == base
    changed = [encoder_of(other), encoder_of(path, pooling=(1, 1)), encoder_of(path, mean=0.5),
               encoder_of(path, std=0.5), encoder_of(path, pooling="token")]  # fmt: skip
    assert len({base, *(e.fingerprint for e in changed)}) == 6


def test_defaults_of_sizes_and_normalisation(tmp_path):
    known = TimmEncoder("vit_base_patch16_224.mae")
    assert (known.n_channels, known.input_size) == (3, (224, 224))
    assert known.mean == (0.485, 0.456, 0.406)
    assert known.std == (0.229, 0.224, 0.225)
    local = TimmEncoder(VIT, checkpoint=tmp_path / "x.pth", model_kwargs={"img_size": 96})
    assert (local.input_size, local.mean, local.std) == ((96, 96), None, None)
    grey = TimmEncoder("vit_base_patch16_224.mae", model_kwargs={"in_chans": 1})
    assert grey.n_channels == 1
    np.testing.assert_allclose([*grey.mean, *grey.std], [1.347 / 3, 0.678 / 3])
    given = TimmEncoder("vit_base_patch16_224.mae", mean=0.5, std=0.5, input_size=(32, 16))
    assert (given.mean, given.std, given.input_size) == (0.5, 0.5, (32, 16))


def test_grey_model_takes_grey_images(tmp_path):
    kwargs = {**SMALL, "in_chans": 1}
    path = saved(tmp_path / "weights.pth", build(**kwargs).state_dict())
    assert encoder_of(path, kwargs=kwargs).embed(IMAGES[:, :1]).shape == (3, 24)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("vit_base_patch16_22", "vit_base_patch16_224"),
        ("resnet18.a1_in1", "resnet18.a1_in1k"),
        ("qqqqqqqq", "list_models"),
    ],
)
def test_unknown_names(name, close):
    encoder = TimmEncoder(name)
    with pytest.raises(ValueError, match=rf"no model '{name}'; .*{close}"):
        encoder.load()


@pytest.mark.parametrize("name", ["resnet10t.c3_in1k", "hf-hub:nobody/nothing"])
def test_weights_that_cannot_be_downloaded(monkeypatch, tmp_path, name):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = TimmEncoder(name)  # no network yet, or this would fail
    with pytest.raises(OSError, match=rf"'{name}' could not be loaded .*checkpoint=") as caught:
        encoder.load()
    assert "\n" not in str(caught.value)


def test_hub_names_learn_their_defaults_on_first_use(monkeypatch):
    vit = build(**SMALL, num_classes=0)
    config = {"input_size": (3, 48, 48), "mean": (0.1, 0.2, 0.3), "std": (1.0, 1.0, 2.0)}
    vit.pretrained_cfg = {**config, "not_a_field": 1}
    create = SimpleNamespace(calls=[])
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: create.calls.append((a, k)) or vit)
    encoder = TimmEncoder("hf-hub:some/where", precision="float32", device="cpu")
    before = joblib.hash(encoder), hash(encoder)
    twin = pickle.loads(pickle.dumps(encoder))
    assert create.calls == []
    vectors = encoder.embed(IMAGES)  # without load(): the normalisation must be there all the same
    assert (encoder.input_size, encoder.n_channels) == ((48, 48), 3)
    normalised = (IMAGES - np.reshape(config["mean"], (3, 1, 1))) / np.reshape(
        config["std"], (3, 1, 1)
    )
    plain = vit.forward_features(torch.from_numpy(normalised.astype(np.float32)))[:, 1:].mean(1)
    np.testing.assert_allclose(vectors, plain, atol=1e-5)
    assert (joblib.hash(encoder), hash(encoder)) == before
    assert twin == encoder
    assert create.calls == [(("hf-hub:some/where",), {"pretrained": True, "num_classes": 0})]


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_checkpoint_is_not_run(tmp_path):
    path = saved(tmp_path / "evil.pth", {"model": Malicious(tmp_path / "run")})
    with pytest.raises(ValueError, match="read safely"):
        encoder_of(path).load()
    assert not (tmp_path / "run").exists()


def test_checkpoints_that_do_not_fit_or_are_none(tmp_path):
    path = saved(tmp_path / "weights.pth", build(**SMALL).state_dict())
    garbage = [tmp_path / "garbage.pth", tmp_path / "garbage.safetensors"]
    for file in garbage:
        file.write_bytes(b"no weights at all")
    cases = [
        (encoder_of(path, "resnet10t", None), "does not fit 'resnet10t': missing"),
        (
            encoder_of(path, kwargs={**SMALL, "img_size": 64}),
            "does not fit .*size mismatch for pos",
        ),
        (encoder_of(path, kwargs={**SMALL, "depth": 3}), r"missing \['blocks.2"),
        (encoder_of(path, kwargs={**SMALL, "depth": 1}), r"unexpected \['blocks.1"),
        *((encoder_of(file), "read safely") for file in garbage),
        (encoder_of(saved(tmp_path / "list.pth", [1, 2])), "holds no state_dict"),
        (encoder_of(saved(tmp_path / "deep.pth", {"state": {"a": 1}})), "holds no state_dict"),
    ]
    for encoder, message in cases:
        with pytest.raises(ValueError, match=message) as caught:
            encoder.load()
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        encoder_of(tmp_path / "none.pth").load()


@pytest.mark.parametrize("pooling", ["max", (2,), (0, 2), 3, (2.0, 2)])
def test_bad_pooling(pooling):
    with pytest.raises(ValueError, match="pooling must be"):
        TimmEncoder(VIT, pooling=pooling)


def test_bundled_encoder():
    encoder = bundled_encoder()
    assert bundled_encoder() is encoder
    assert encoder.embed(np.zeros((2, 1, 128, 128), np.float32)).shape[0] == 2
    weights = sum(p.numel() for p in encoder._module().parameters())
    assert weights <= 1_400_000


def test_embedding_first_does_not_spoil_the_gradient(tmp_path):
    """Weights that were loaded in inference mode could not be used for gradients any more."""
    from skdne.encoders._timm_weights import build_model

    build_model.cache_clear()
    encoder = bundled_encoder()
    encoder.embed(np.zeros((1, 1, 128, 128), dtype=np.float32))
    images = torch.zeros(1, 1, 128, 128, requires_grad=True)
    encoder.forward(images).sum().backward()
    assert images.grad is not None


def test_timm_is_imported_when_a_model_of_it_is_asked_for():
    code = "import sys, skdne; print('timm' in sys.modules); skdne.bundled_encoder().load(); "
    code += "print('timm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
