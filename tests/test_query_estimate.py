"""What a fit will send is known before, and shown while it is sent."""

import io
import pickle
import re

import numpy as np
import pytest
from helpers import small_encoder, small_images
from hypothesis import given, settings
from hypothesis import strategies as st
from query_fits import ERASURE, GATES, GEZO, SPSA_, fit, make_dne
from remote_encoder import RemoteEncoder
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skdne import Adam, BlockErasure, CallableEncoder, GeZO, QueryProgress
from skdne.blocks import BlockGrid
from skdne.query_estimate import n_erasable
from skdne.solvers import _block_search, _erasure

pytestmark = pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning")


@pytest.mark.parametrize("leakage", [True, False])
@pytest.mark.parametrize(
    "solver",
    [None, GEZO, SPSA_, GeZO(**{**GEZO.get_params(), "refit_every": 1, "include_current": True})],
    ids=["none", "gezo", "spsa", "refit"],
)
def test_the_estimate_is_what_a_black_box_fit_asks_for(solver, leakage):
    dne = make_dne(solver, leakage=leakage, flight=3)
    plan = dne.estimate_queries(47)
    service = dne.encoder.service
    assert service.n_images == 0
    fit(dne)
    assert dne.query_plan_ == plan
    assert plan.least == plan.most == dne.n_queries_
    # the check before the final measurements finds that nothing was sent since the last epoch's
    spared = 0 if solver is None else 1
    assert dne.n_sent_ == service.n_images == plan.most - 4 * spared
    assert plan.requests == (service.n_requests + spared,) * 2
    assert plan.cost(2.5) == (2.5 * plan.least / 1000,) * 2


@pytest.mark.parametrize("refit_every", [None, 1, 2, 5])
@pytest.mark.parametrize("n", [12, 47, 200])
def test_the_estimate_of_adam(refit_every, n):
    encoder = small_encoder()
    solver = Adam(max_iter=5, batch_size=16, refit_every=refit_every)
    dne = make_dne(solver, encoder=encoder)
    plan = dne.estimate_queries(n)
    assert plan.canary == (0, 0)
    assert plan.least == plan.most == fit(dne, n).n_queries_ == dne.n_sent_


def test_the_plan_of_a_fit_knows_how_patients_part_the_images():
    X, y, a = small_images(50)
    dne = make_dne(Adam(max_iter=2), encoder=small_encoder())
    dne.fit(X, y, sensitive_features=a, groups=np.repeat(np.arange(25), 2) + 25 * (a == "M"))
    assert dne.query_plan_.least == dne.n_queries_


@pytest.mark.parametrize("solver", [ERASURE, GATES], ids=["erasure", "gates"])
@pytest.mark.parametrize("cue", ["corner", "everywhere", "none"])
def test_a_search_for_blocks_stays_within_its_estimate(solver, cue):
    X, y, a = small_images(80, seed=3)
    if cue == "everywhere":
        X = (X // 2 + 100 * (a == "M")[:, None, None]).astype(np.uint8)
    if cue == "none":
        X[:, :3, :3] = 128
    for max_area in (0.3, 0.9):
        dne = make_dne(clone(solver).set_params(max_area=max_area), encoder=small_encoder())
        plan = dne.estimate_queries(80)
        dne.fit(X, y, sensitive_features=a)
        assert plan.least <= dne.n_queries_ <= plan.most


class AnySearch:
    """Stands for an Objective: it counts what is asked for, and chance decides what is found."""

    def __init__(self, n, encoder, selection=None):
        self.n, self.encoder, self.selection = n, encoder, selection
        self.codes = self.cells = np.arange(n) % 2
        self.strata, self.groups = None, None
        self.space = BlockErasure().space((1, 12, 10))
        self.asked = 0

    def __len__(self):
        return self.n

    def embed_each(self, edits):
        for _, rows in edits:
            self.asked += len(rows)
            yield np.zeros((len(rows), 1))

    def embed(self, noise, rows):
        return next(self.embed_each([(noise, rows)]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_search_for_blocks_passes_the_bound(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    telling, readable = data.draw(st.sampled_from([0.0, 0.1, 0.5])), rng.choice([0.0, 0.9, 1.0])
    solver = BlockErasure(
        block_size=int(rng.integers(2, 6)),
        n_images=int(rng.choice([8, 30])),
        max_area=float(rng.choice([0.2, 0.5, 1.0])),
        n_permutations=79,
    )
    n_fit, n_select = int(rng.integers(10, 80)), int(rng.choice([0, 10, 50]))
    encoder = RemoteEncoder()
    judge = AnySearch(n_select, encoder) if n_select else None
    L = AnySearch(n_fit, encoder, judge)

    def some_scores(*_args):
        return np.append(0.5 + rng.choice([0.0, 0.4]), np.full(79, 0.5))

    def p_of_blocks(found):
        return np.where(rng.random(len(found)) < telling, 0.0, 1.0)

    def p_of_what_is_left(found):
        return np.where(rng.random(len(found)) < readable, 0.0, 1.0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_block_search, "scores", some_scores)
        patch.setattr(_block_search, "held_out_scores", some_scores)
        patch.setattr(_block_search, "adjusted_p_values", p_of_what_is_left)
        patch.setattr(_erasure, "adjusted_p_values", p_of_blocks)
        epochs = []
        solver.minimize(L, 0, lambda theta, curve: epochs.append(0) and False)
    least, most = solver.queries_in_all(n_fit, n_select, (1, 12, 10), encoder)
    asked = L.asked + (judge.asked if judge else 0)
    assert least[0] <= asked <= most[0]
    assert len(epochs) <= solver.n_epochs((1, 12, 10), encoder)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.floats(0.01, 1))
def test_no_choice_of_blocks_that_fits_is_larger(height, width, size, max_area):
    grid = BlockGrid((height, width), size, "black")
    smallest = np.argsort([grid.area(one) for one in np.eye(len(grid), dtype=bool)], kind="stable")
    for n in range(len(grid) + 1):
        mask = np.isin(np.arange(len(grid)), smallest[:n])
        assert (grid.area(mask) <= max_area) == (n <= n_erasable(grid, max_area)) or abs(
            grid.area(mask) - max_area
        ) < 1e-6


def test_the_shape_of_images_is_asked_for_where_it_matters():
    anything = CallableEncoder(lambda x: x.reshape(len(x), -1), name="flat")
    dne = make_dne(ERASURE, encoder=anything)
    with pytest.raises(ValueError, match=r"(?s)image_shape is needed.*takes any"):
        dne.estimate_queries(100)
    assert make_dne(GEZO, encoder=anything).estimate_queries(100).most > 0
    asked = dne.estimate_queries(100, image_shape=(8, 8))
    assert asked.noise_fit[0] == 4 * 16
    assert asked == dne.set_params(image_shape=(8, 8, 3)).estimate_queries(100)
    for shape in ((8,), "8x8", (0, 8)):
        with pytest.raises(ValueError, match="image_shape must be"):
            dne.estimate_queries(100, image_shape=shape)


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "many"])
def test_n_samples_is_checked(n):
    with pytest.raises(ValueError, match="n_samples must be a whole number"):
        make_dne(GEZO).estimate_queries(n)


@pytest.mark.parametrize("price", [-1, "1 EUR", np.nan, np.inf])
def test_the_price_is_checked(price):
    with pytest.raises(ValueError, match="price_per_thousand must be a number"):
        make_dne(GEZO).estimate_queries(100).cost(price)


def test_the_estimate_reads_as_a_plan():
    text = str(make_dne(ERASURE).estimate_queries(1000))
    for part in ("clean embeddings", "noise fit", "final measurements", "canary", "requests"):
        assert part in text
    assert re.search(r"in all +1,0\d\d to [\d,]+", text)
    assert "Each transform, also in a search, sends its images and 4 for the canary" in text
    assert "canary" not in str(make_dne(GEZO, encoder=small_encoder()).estimate_queries(100))


def test_progress_prints_the_plan_and_what_is_done():
    stream = io.StringIO()
    dne = make_dne(GEZO, max_queries=400).set_callbacks(QueryProgress(stream))
    fit(dne)
    lines = stream.getvalue().splitlines()
    assert lines[: len(str(dne.query_plan_).splitlines())] == str(dne.query_plan_).splitlines()
    assert "max_queries=400 ends it earlier." in lines
    epochs = [line for line in lines if line.startswith("epoch")]
    first = 4 + 47 + 2 * 64 + 4
    assert re.match(
        rf"epoch 1: {first} of 400 images asked for; {first} sent, [\d,]+ images/s, about "
        r"\d+:\d\d:\d\d left$",
        epochs[0],
    )
    assert lines[-1] == f"done: {dne.n_queries_} images asked for, {dne.n_sent_} sent (max_queries)"


def test_progress_of_a_search_tells_its_fits_apart(capsys):
    X, y, a = small_images(94)
    pipe = make_pipeline(make_dne(GEZO, encoder=small_encoder()), LogisticRegression())
    search = GridSearchCV(pipe, {"debiasednoisetransformer__reg_lambda": [0.1, 1.0]}, cv=2)
    search.set_callbacks(QueryProgress())
    with config_context(enable_metadata_routing=True):
        search.fit(X, y, sensitive_features=a)
    done = [line for line in capsys.readouterr().err.splitlines() if "done:" in line]
    assert len(done) == len({line.split("]")[0] for line in done}) == 5


def test_progress_can_be_sent_to_another_process():
    dne = fit(make_dne(None, encoder=small_encoder()).set_callbacks(QueryProgress(io.StringIO())))
    copy = pickle.loads(pickle.dumps(dne))
    assert copy._skl_callbacks[0].stream is None
