"""Searches and transforms on other people's engines: joblib's backends and dask.distributed."""

import dataclasses
import functools
import os
import re
import signal
import threading
import time
import uuid
from pathlib import Path

import dask.array
import joblib
import numpy as np
import psutil
import pytest
import sklearn
from distributed import Client, LocalCluster
from distributed.client import FutureCancelledError
from helpers import small_encoder, small_images
from joblib.externals.loky import get_reusable_executor
from joblib.externals.loky.process_executor import TerminatedWorkerError
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, ParameterGrid
from sklearn.pipeline import Pipeline
from test_distributed import TORCHRUN

from skdne import Adam, DebiasedNoiseTransformer
from skdne.metrics import eo_scorer

pytestmark = [
    pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning"),
    # dask says so where the disk is busy: nothing to do with what is tested
    pytest.mark.filterwarnings("ignore:Creating scratch directories is taking:UserWarning"),
]
PATH = Path(__file__).resolve().parents[1] / "docs" / "cluster.md"
PAGE = PATH.read_text(encoding="utf-8")
HELD = 10.0  # the value of C whose fits wait
IDLE = ("Dask-Offload", "QueueFeederThread")
PATIENCE = 60  # seconds until a test gives up waiting for other processes


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left():
    """After the last test no process, thread or socket is left, but what lives with this process.

    Those are the trackers of resources, one of Python and one of joblib, an idle thread that dask
    keeps for the next cluster, and one that joblib at times leaves of a pool whose worker died.
    """
    own = psutil.Process()

    def living():
        children = [p for p in own.children(recursive=True) if "resource_tracker" not in command(p)]
        threads = [t for t in threading.enumerate() if not t.name.startswith(IDLE)]
        return {*children, *threads, *own.net_connections()}

    get_reusable_executor().shutdown(wait=True)  # workers of an earlier module
    before = living()
    yield
    get_reusable_executor().shutdown(wait=True)
    give_up = time.monotonic() + PATIENCE
    while living() - before and time.monotonic() < give_up:
        time.sleep(0.05)
    assert not living() - before


def command(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """A client of a cluster of two worker processes."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True}
    folder = tmp_path_factory.mktemp("dask")
    with (
        LocalCluster(**options, dashboard_address="127.0.0.1:0", local_directory=folder) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(params=["loky", "threading", "dask"])
def backend(request):
    if request.param == "dask":
        request.getfixturevalue("client")
    return request.param


class Held(LogisticRegression):
    """Notes the process of each fit; with ``C=HELD`` it waits there to be let go, or killed."""

    def __init__(self, folder=None, C=1.0):
        super().__init__(C=C, max_iter=500)
        self.folder = folder

    def fit(self, X, y):
        if self.folder is not None:
            (self.folder / f"{self.C}-{os.getpid()}-{uuid.uuid4().hex}").touch()
            give_up = time.monotonic() + 2 * PATIENCE
            while self.C == HELD and not (self.folder / "go").exists():
                assert time.monotonic() < give_up
                time.sleep(0.01)
        return super().fit(X, y)


def fits(folder, C):
    """Process of each fit with this C."""
    return [int(path.name.split("-")[1]) for path in folder.glob(f"{C}-*")]


GRID = {"clf__C": [0.1, HELD], "dne__reg_lambda": [0.01, 1.0]}


def search(X, y, a, grid=GRID, encoder=None, folder=None, n_jobs=None):
    """A fitted search; its folds' scores to all digits depend on the noise and the attribute."""
    dne = DebiasedNoiseTransformer(
        encoder or small_encoder(),
        solver=Adam(step_size=0.01, max_iter=3, batch_size=16),
        leakage=False,
        random_state=0,
    )
    search = GridSearchCV(
        Pipeline([("dne", dne), ("clf", Held(folder))]),
        grid,
        scoring={"loss": "neg_log_loss", "eo": eo_scorer()},
        refit="loss",
        cv=2,
        n_jobs=n_jobs,
        error_score="raise",
    )
    with sklearn.config_context(enable_metadata_routing=True):
        return search.fit(X, y, sensitive_features=a)


def scores(search):
    results = search.cv_results_
    return np.array([results[f"split{i}_test_{name}"] for i in (0, 1) for name in ("loss", "eo")])


@pytest.fixture(scope="module")
def data():
    return small_images(200, correlation=0.6)


@pytest.fixture(scope="module")
def alone(data):
    """The search in this process."""
    found = search(*data)
    assert len(np.unique(scores(found)[0])) == 4  # each grid point has a result of its own
    return found


def check_same(found, alone):
    np.testing.assert_array_equal(scores(found), scores(alone))
    assert found.best_params_ == alone.best_params_
    one, other = (s.best_estimator_["dne"].noise_ for s in (found, alone))
    np.testing.assert_array_equal(one, other)


def test_a_search_gives_the_same_on_every_engine(backend, data, alone, tmp_path):
    (tmp_path / "go").touch()
    with joblib.parallel_config(backend=backend):
        found = search(*data, folder=tmp_path, n_jobs=2)
    check_same(found, alone)
    processes = {*fits(tmp_path, 0.1), *fits(tmp_path, HELD)}
    assert os.getpid() in processes  # it refits
    assert (len(processes) > 1) == (backend != "threading")


def test_processes_share_a_store(backend, data, alone, tmp_path):
    encoder = dataclasses.replace(small_encoder(), store=tmp_path / "embeddings.sqlite")
    with joblib.parallel_config(backend=backend):
        found = search(*data, encoder=encoder, n_jobs=2)
    check_same(found, alone)
    refit, without = (s.best_estimator_["dne"] for s in (found, alone))
    assert refit.n_queries_ == without.n_queries_ == without.n_sent_
    assert refit.n_sent_ <= without.n_sent_ - 200  # the workers had embedded the clean images


@pytest.fixture
def files(data, tmp_path):
    """Fifty of the images as PNG files."""
    paths = [str(tmp_path / f"{i}.png") for i in range(50)]
    for path, image in zip(paths, data[0], strict=False):
        Image.fromarray(image).save(path)
    return paths


def test_files_are_transformed_by_a_cluster(client, data, alone, files):
    """Parts that are multiples of the batch are the same batches, hence the same to the bit."""
    encoder = dataclasses.replace(small_encoder(), batch_size=8)
    dne = sklearn.clone(alone.best_estimator_["dne"]).set_params(encoder=encoder)
    dne.fit(*data[:2], sensitive_features=data[2])
    expected = dne.transform(files)
    assert dne.noise_.any()

    paths = dask.array.from_array(np.array(files), chunks=16)  # the last part is of 2
    embeddings = client.persist(
        paths.map_blocks(
            dne.transform,
            new_axis=1,
            chunks=(paths.chunks[0], expected.shape[1]),
            meta=np.empty((0, 0), np.float32),
        )
    )
    np.testing.assert_array_equal(embeddings.compute(), expected)
    assert embeddings.npartitions == len(client.who_has(embeddings)) == 4  # workers have them

    parts = [files[start : start + 16] for start in range(0, 50, 16)]
    found = client.gather(client.map(dne.transform, parts))
    np.testing.assert_array_equal(np.concatenate(found), expected)


def kill(folder, others, killed):
    """Kill the process of a fit that waits, and others; then let what is left go on."""
    give_up = time.monotonic() + PATIENCE
    while not (held := fits(folder, HELD)) and time.monotonic() < give_up:
        time.sleep(0.01)
    try:
        for pid in {held[0], *others} - {os.getpid()}:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    finally:
        (folder / "go").touch()


@pytest.fixture
def killing(tmp_path):
    """Function that has a worker killed in the middle of a search; returns who was killed."""
    threads, killed = [], []

    def start(others=()):
        threads.append(threading.Thread(target=kill, args=(tmp_path, others, killed)))
        threads[-1].start()
        return killed

    yield start
    for thread in threads:
        thread.join()


def split_scores(data, folder, point):
    """The task of one grid point: a search over it alone."""
    found = search(*data, grid={name: [value] for name, value in point.items()}, folder=folder)
    return scores(found)[:, 0]


def test_tasks_of_grid_points_go_on_when_a_worker_is_killed(client, killing, data, alone, tmp_path):
    killed = killing()
    task = functools.partial(split_scores, data, tmp_path)
    tasks = client.map(task, list(ParameterGrid(GRID)), pure=False)
    np.testing.assert_array_equal(np.transpose(client.gather(tasks)), scores(alone))
    assert len(killed) == 1
    assert not psutil.pid_exists(killed[0])
    whole = 2 * (2 + 1)  # points, folds and the refit
    assert len(fits(tmp_path, HELD)) > whole  # what was killed was done again
    client.wait_for_workers(2, timeout=PATIENCE)  # dask starts another


def test_joblib_on_dask_stops_when_its_data_die_with_the_workers(client, killing, data, tmp_path):
    """joblib hands images, labels and folds to workers; dask cannot make them again."""
    killed = killing(client.run(os.getpid).values())
    with joblib.parallel_config(backend="dask"), pytest.raises(FutureCancelledError):
        search(*data, folder=tmp_path, n_jobs=2)
    assert len(killed) == 2


def test_loky_raises_when_a_worker_is_killed(killing, data, alone, tmp_path):
    killed = killing()
    with joblib.parallel_config(backend="loky"), pytest.raises(TerminatedWorkerError):
        search(*data, folder=tmp_path, n_jobs=2)
    assert len(killed) == 1


def test_the_script_of_the_page_runs(tmp_path, monkeypatch):
    """As one process of one; test_distributed.py runs two with the same options of torchrun."""
    (script,) = re.findall(
        r"```\{code-block\} python\n:caption: fit.py\n\n(.*?)```", PAGE, re.DOTALL
    )
    assert f"\n{' '.join(['torchrun', *TORCHRUN[2:]])} fit.py\n" in PAGE
    monkeypatch.chdir(tmp_path)
    for name, value in (("RANK", 0), ("WORLD_SIZE", 1), ("MASTER_PORT", 0)):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    exec(compile(script, "fit.py", "exec"), {})
    assert DebiasedNoiseTransformer.load_noise("noise.safetensors").noise_.any()
