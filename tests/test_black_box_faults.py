"""What does not heal, before real services: one clear error, and nothing paid for in vain."""

import numpy as np
import pytest
from helpers import small_images
from PIL import Image
from service_fits import SIZE, fit, make_dne, v2, vertex

from skdne import EncoderChangedError

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


@pytest.fixture(params=["v2", "vertex"])
def service(request):
    """The proxy before a service, and the encoder of one request at a time."""
    proxy = request.getfixturevalue(f"{request.param}_proxy")
    proxy.set_plan()
    proxy.reset_counts()
    return proxy, {"v2": v2, "vertex": vertex}[request.param](proxy.url, concurrency=1)


LASTING = {
    "400": (ValueError, "was answered by 400 .*injected 400"),
    "401": (PermissionError, "was answered by 401 .*The service wants a key: set auth"),
    "403": (PermissionError, "was answered by 403 .*The service wants a key: set auth"),
    "nan": (ValueError, r"NaN or infinity for rows \[7\] of a batch of 8"),
    "null": (ValueError, r"NaN or infinity for rows \[7\] of a batch of 8"),
    "few_rows": (ValueError, r"shape \(7, 32\) for 8 images|8 images; rows \[7\] .* have none"),
}


@pytest.mark.parametrize("fault", LASTING)
def test_what_will_not_heal_is_one_attempt_and_a_clear_error(service, fault):
    proxy, encoder = service
    proxy.set_plan(faults=["ok"] * 12 + [fault])
    error, words = LASTING[fault]
    with pytest.raises(error, match=words):
        fit(encoder)
    assert proxy.counts()["received"]["requests"] == 13
    assert proxy.counts()["faults"] == {"ok": 12, fault: 1}


@pytest.mark.parametrize("n_before", [3, 12, 13])  # among the clean ones, and in the noise fit
@pytest.mark.parametrize("change", ["dimension", "other_model", "precision"])
def test_a_model_that_changes_in_mid_fit_is_an_error_of_its_own(service, change, n_before):
    proxy, encoder = service
    proxy.set_plan(faults=["ok"] * n_before, then=change)
    words = r"changed since the fit began|different lengths, \[31, 32\]"
    with pytest.raises(EncoderChangedError, match=words):
        fit(encoder)


@pytest.mark.parametrize("change", ["dimension", "other_model", "precision"])
def test_a_model_that_changed_since_the_fit_gets_no_image(service, change):
    proxy, encoder = service
    dne = fit(encoder)
    proxy.reset_counts()
    proxy.set_plan(then=change)
    with pytest.raises(EncoderChangedError, match=r"changed since the fit began"):
        dne.transform(small_images(20, size=SIZE)[0])
    assert proxy.counts()["received"]["images"] == 4  # the canary


def test_all_bad_files_are_named_before_anything_is_paid(service, tmp_path):
    proxy, encoder = service
    X, y, a = small_images(48, size=SIZE)
    paths = [str(tmp_path / f"{i}.png") for i in range(len(X))]
    for image, path in zip(X, paths, strict=True):
        Image.fromarray(image).save(path)
    for bad in (11, 40):  # what is wrong shows in the pixels only, not in the header
        content = (tmp_path / f"{bad}.png").read_bytes()
        (tmp_path / f"{bad}.png").write_bytes(content[:90])
    with pytest.raises(ValueError, match=r"(?s)2 image file.*/11\.png.*/40\.png") as error:
        make_dne(encoder).fit(np.array(paths), y, sensitive_features=a)
    assert "/12.png" not in str(error.value)
    assert proxy.counts()["received"]["requests"] == 0


@pytest.mark.parametrize(
    ("attribute", "words"),
    [(None, "sensitive_features"), (["M"] * 48, "sensitive_features"), ([None] * 48, "sensitive")],
)
def test_without_two_groups_nothing_is_sent(service, attribute, words):
    proxy, encoder = service
    X, y, _ = small_images(48, size=SIZE)
    with pytest.raises(ValueError, match=words):
        make_dne(encoder).fit(X, y, sensitive_features=attribute)
    assert proxy.counts()["received"]["requests"] == 0
