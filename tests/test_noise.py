"""The noise: its parametrisation, how it is added, and its files."""

import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save_file

from skdne.noise import NoiseSpace, StoredNoise, add_noise, load_noise_file, save_noise_file

SPACES = st.builds(
    NoiseSpace,
    st.tuples(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    st.one_of(st.none(), st.integers(1, 12)),
)


@settings(deadline=None)
@given(SPACES, st.integers(0, 1000), st.floats(0.01, 10))
def test_expand_is_linear_and_project_bounds_the_norm(space, seed, radius):
    channels, height, width = space.image_shape
    generator = torch.Generator().manual_seed(seed)
    theta, other = (torch.randn(space.shape, generator=generator) for _ in range(2))
    noise = space.expand(theta)
    assert noise.shape == (channels if space.per_channel else 1, height, width)
    torch.testing.assert_close(
        space.expand(2 * theta - other), 2 * noise - space.expand(other), rtol=1e-4, atol=1e-5
    )
    assert not space.expand(space.zeros()).any()
    projected = space.project(theta, radius)
    norm, before = (float(space.expand(t).norm()) for t in (projected, theta))
    assert norm <= radius * (1 + 1e-5)
    if before <= radius:
        assert torch.equal(projected, theta)
    else:  # the same direction, on the sphere
        assert norm == pytest.approx(radius, rel=1e-4)
        torch.testing.assert_close(projected * (before / radius), theta, rtol=1e-4, atol=1e-5)
    assert space.project(theta, None) is theta


def test_shapes_of_the_parameters():
    assert NoiseSpace((3, 8, 6)).shape == (1, 8, 6)
    assert NoiseSpace((3, 8, 6), per_channel=True).shape == (3, 8, 6)
    assert NoiseSpace((3, 8, 6), grid_size=4).shape == (1, 4, 4)
    assert NoiseSpace((3, 8, 6), per_channel=True, grid_size=7).shape == (3, 7, 6)


def test_upsampling_is_bilinear():
    space = NoiseSpace((1, 4, 4), grid_size=2)
    row = torch.tensor([0.0, 0.25, 0.75, 1.0])  # centres of 4 pixels between centres of 2 cells
    theta = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    torch.testing.assert_close(space.expand(theta)[0], row.repeat(4, 1))


def test_add_noise_and_clip():
    images = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1).repeat(2, 1, 4, 4)
    noise = torch.full((1, 4, 4), 0.75)
    plain, clipped = add_noise(images, noise, False), add_noise(images, noise, True)
    torch.testing.assert_close(plain[0, :, 0, 0], torch.tensor([0.75, 1.25, 1.75]))
    torch.testing.assert_close(clipped[0, :, 0, 0], torch.tensor([0.75, 1.0, 1.0]))
    assert add_noise(images, -noise, True).min() == 0


@settings(max_examples=25, deadline=None)
@given(
    arrays(
        np.float32,
        st.sampled_from([(4, 5), (1, 4, 5), (3, 2, 2)]),
        elements=st.floats(-9, 9, width=32),
    ),
    st.booleans(),
    st.sampled_from([None, "0123456789abcdef"]),
    st.sampled_from([None, 512]),
)
def test_safetensors_keep_everything(tmp_path_factory, noise, clip, fingerprint, n_features):
    path = tmp_path_factory.mktemp("noise") / "noise.safetensors"
    stored = StoredNoise(noise, clip, fingerprint, n_features)
    save_noise_file(path, stored)
    found = load_noise_file(os.fspath(path))
    np.testing.assert_array_equal(found.noise, noise)
    assert found.noise.dtype == np.float32
    assert (found.clip, found.fingerprint, found.n_features) == (clip, fingerprint, n_features)


@pytest.mark.parametrize(
    "wrap", [lambda t: t, torch.nn.Parameter, lambda t: t.double(), lambda t: t.half()]
)
def test_the_authors_file(tmp_path, wrap):
    noise = torch.rand(224, 224).half().float()
    torch.save(OrderedDict(noise=wrap(noise)), tmp_path / "noise.pt")
    found = load_noise_file(tmp_path / "noise.pt")
    np.testing.assert_array_equal(found.noise, noise)
    assert found.noise.dtype == np.float32
    assert (found.clip, found.fingerprint, found.n_features) == (False, None, None)


def test_pt_is_written_as_the_authors_do(tmp_path):
    noise = np.random.default_rng(0).random((4, 5), dtype=np.float32)
    save_noise_file(tmp_path / "noise.pt", StoredNoise(noise, fingerprint="abc"))

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.noise = torch.nn.Parameter(torch.zeros(4, 5))

    module = Theirs()
    module.load_state_dict(torch.load(tmp_path / "noise.pt", weights_only=True))
    np.testing.assert_array_equal(module.noise.detach(), noise)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (StoredNoise(np.zeros((4, 4), np.float32), clip=True), "is clipped, .* as .safetensors"),
        (StoredNoise(np.zeros((3, 4, 4), np.float32)), "one plane for each channel, .*safetensors"),
    ],
)
def test_what_pt_cannot_say_is_refused(tmp_path, stored, message):
    with pytest.raises(ValueError, match=message):
        save_noise_file(tmp_path / "noise.pt", stored)
    assert not (tmp_path / "noise.pt").exists()


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_malicious_file_is_not_run(tmp_path, writer):
    path = tmp_path / "noise.pt"
    content = {"noise": Malicious(tmp_path / "run")}
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match="not a noise file"):
        load_noise_file(path)
    assert not (tmp_path / "run").exists()
    torch.load(path, weights_only=False) if writer == "torch" else pickle.loads(path.read_bytes())
    assert (tmp_path / "run").exists()  # the file is what it is meant to be


def written(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".pt":
        torch.save(content, path)
    else:
        save_file(content, path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("noise.pt", b"", "not a noise file"),
        ("noise.pt", b"garbage", "not a noise file"),
        ("noise.safetensors", b"garbage", "not a noise file"),
        ("noise.safetensors", {"other": np.zeros((2, 2))}, "needs one tensor 'noise'"),
        ("noise.pt", {"other": torch.zeros(2, 2)}, "needs one tensor 'noise'"),
        ("noise.pt", torch.zeros(2, 2), "not a noise file"),
        ("noise.pt", {"noise": "text"}, "not a noise file"),
        ("noise.pt", {"noise": torch.zeros(4)}, r"of shape \(H, W\)"),
        ("noise.pt", {"noise": torch.full((2, 2), np.nan)}, "must be finite"),
        ("noise.safetensors", {"noise": np.full((2, 2), np.inf)}, "must be finite"),
    ],
)
def test_what_is_no_noise_file(tmp_path, name, content, message):
    path = tmp_path / name
    written(path, content)
    with pytest.raises(ValueError, match=message) as caught:
        load_noise_file(path)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths(tmp_path):
    noise = StoredNoise(np.zeros((2, 2), np.float32))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_noise_file(tmp_path / "noise.pt")
    with pytest.raises(ValueError, match=r"must end in \.safetensors or \.pt, got '.*noise\.npy'"):
        load_noise_file(tmp_path / "noise.npy")
    with pytest.raises(ValueError, match=r"must end in \.safetensors or \.pt"):
        save_noise_file(tmp_path / "noise", noise)
    for suffix in ("pt", "safetensors"):
        (tmp_path / f"folder.{suffix}").mkdir()
        with pytest.raises(OSError, match="folder"):
            load_noise_file(tmp_path / f"folder.{suffix}")
        with pytest.raises(FileNotFoundError, match="nowhere"):
            save_noise_file(tmp_path / "nowhere" / f"noise.{suffix}", noise)
