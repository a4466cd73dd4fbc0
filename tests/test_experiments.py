"""The papers' experiment as a command: rows, resuming, tables, both data layouts."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from skdne.experiments import paper
from skdne.experiments._encoders import encoder_named
from skdne.experiments._released import ReleasedAdam, ReleasedGeZO
from skdne.experiments._systems import SYSTEMS, Setting
from skdne.experiments._tables import PAPERS, PAPERS_COLUMNS, beside_papers, half_width, table
from skdne.experiments._tasks import real_tasks, synthetic_tasks

FAST = ["ERM", "reweighing", "LEACE", "threshold optimizer *", "correlation remover *"]


def run(out, *arguments):
    paper.main(["--out", str(out), *map(str, arguments)])


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Two seeds of one synthetic task."""
    out = tmp_path_factory.mktemp("paper")
    run(out, "--n", 80, "--seeds", 2, "--tasks", "localised cue", "--systems", *FAST)
    return out


def test_a_second_run_measures_nothing_and_prints_the_same_table(first, capsys):
    arguments = ["--n", 80, "--seeds", 2, "--tasks", "localised cue", "--systems", *FAST]
    before = (first / "results.csv").read_text()
    run(first, *arguments)
    text = capsys.readouterr().out
    assert (first / "results.csv").read_text() == before
    assert "seed 0: ERM" not in text
    found = pd.read_csv(first / "results.csv")
    assert len(found) == 2 * len(FAST) * 2
    randomised = found["system"] == "threshold optimizer *"
    assert (found["AUC"].isna() == randomised).all()  # it gives labels, no scores
    rows = found[(found["head"] == "converged") & (found["system"] == "LEACE")]
    width = stats.t.ppf(0.975, 1) * rows["accuracy"].std() / np.sqrt(2)
    line = next(part for part in text.split("head 'converged'")[1].splitlines() if "LEACE" in part)
    assert f"{rows['accuracy'].mean():.3f} ±{width:.3f}" in line
    assert "* needs the attribute of new patients" in text


def test_the_same_settings_elsewhere_give_the_same_digits(first, tmp_path):
    run(tmp_path, "--n", 80, "--seeds", 1, "--tasks", "localised cue", "--systems", "ERM", "LEACE")
    columns = ["task", "seed", "system", "head"]
    ours, theirs = (
        pd.read_csv(out / "results.csv").set_index(columns).drop(columns="seconds")
        for out in (tmp_path, first)
    )
    pd.testing.assert_frame_equal(ours, theirs.loc[ours.index])


def test_pictures_of_what_was_measured_are_written(first, capsys, monkeypatch):
    monkeypatch.setattr(paper, "draw_noises", lambda *_: [])  # fits noises
    run(
        first, "--n", 80, "--seeds", 2, "--tasks", "localised cue", "--systems", *FAST, "--pictures"
    )
    wrote = [line for line in capsys.readouterr().out.splitlines() if line.startswith("wrote")]
    names = [f"frontier_localised_cue_{head}.png" for head in ("converged", "papers")]
    assert sorted(line.rpartition("/")[2] for line in wrote) == names
    assert all((first / name).stat().st_size > 10_000 for name in names)


def test_results_of_other_settings_are_not_mixed(first):
    with pytest.raises(SystemExit, match="results with other settings of \\['n'\\]"):
        run(first, "--n", 90, "--seeds", 1)


def test_a_row_without_probes_keeps_its_columns(tmp_path):
    """BiasAdv takes images: its row has no leakage, and other figures in their places."""
    arguments = ["--n", 40, "--seeds", 1, "--tasks", "localised cue", "--encoder", "linear"]
    run(tmp_path, *arguments, "--small", "--heads", "converged", "--systems", "ERM", "BiasAdv")
    found = pd.read_csv(tmp_path / "results.csv").set_index("system")
    probes = ["linear probe", "rbf probe", "mlp probe"]
    assert found.loc["BiasAdv", probes].isna().all()
    assert found.loc["ERM", probes].between(0, 1).all()
    columns = ["queries", "n_train", "n_test"]
    assert (found.loc["BiasAdv", columns] == found.loc["ERM", columns]).all()


@pytest.mark.parametrize("systems", [SYSTEMS, paper.small(SYSTEMS)])
def test_bias_adv_runs_on_the_encoder_of_the_other_rows(systems):
    train, test = synthetic_tasks(40)[0].draw(0)
    setting = Setting(encoder_named("linear"), train, test, 0, "as-printed", embed=None)
    system = systems["BiasAdv"]
    assert system.head(system.heads[0], setting).encoder is setting.encoder


def test_an_unknown_task_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(tmp_path, "--tasks", "Pneumonia")
    assert "there are ['localised cue', 'overlapping cue', 'global cue']" in capsys.readouterr().err


def test_synthetic_cells_are_the_papers_scaled():
    train, test = synthetic_tasks(400)[0].draw(0)
    counts = dict(zip(*np.unique(train.cells, return_counts=True), strict=True))
    assert counts == {"0 F": 13, "0 M": 129, "1 F": 129, "1 M": 129}
    assert set(np.unique(test.cells, return_counts=True)[1]) == {100}


@pytest.fixture
def chexpert(tmp_path):
    """A tree in CheXpert's layout, 240 patients."""
    findings = ["Pneumonia", "Edema", "Pleural Effusion"]
    others = [
        *["No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity"],
        *["Lung Lesion", "Consolidation", "Atelectasis", "Pneumothorax", "Pleural Other"],
        *["Fracture", "Support Devices"],
    ]
    rng = np.random.default_rng(0)
    rows = []
    for i in range(240):
        path = f"CheXpert-v1.0-small/train/patient{i:05d}/study1/view1_frontal.jpg"
        (tmp_path / path).parent.mkdir(parents=True)
        pixels = rng.integers(60, 100, (32, 32)) + 60 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / path)
        row = {"Path": path, "Sex": ["Female", "Male"][i % 2], "Age": 50}
        row |= {"Frontal/Lateral": "Frontal", "AP/PA": "AP"}
        rows.append(row | dict.fromkeys(findings, float(i // 2 % 2)) | dict.fromkeys(others, 0.0))
    folder = tmp_path / "CheXpert-v1.0-small"
    pd.DataFrame(rows).to_csv(folder / "train.csv", index=False)
    return tmp_path


def test_chexpert_prints_ours_beside_the_papers(chexpert, tmp_path, capsys):
    arguments = ["--data", chexpert, "--scale", 0.03, "--seeds", 2, "--tasks", "Pneumonia"]
    run(tmp_path / "out", *arguments, "--systems", "ERM", "reweighing")
    text = capsys.readouterr().out
    assert "re-splits of one data set, Nadeau-Bengio" in text
    beside = text.split("Beside the papers' table, percent")[1].splitlines()
    erm = next(line for line in beside if line.startswith("ERM")).split()
    assert [float(v) for v in erm[5:9]] == [70.0, 70.0, 74.5, 59.6]
    found = pd.read_csv(tmp_path / "out" / "results.csv")
    ours = found[(found["system"] == "ERM") & (found["head"] == "papers")]
    assert float(erm[4]) == pytest.approx(100 * ours["accuracy"].mean(), abs=0.06)
    assert (ours["n_train"] == 139).all()  # 45 + 4 + 45 + 45


def test_labels_of_real_images_are_those_of_their_files(chexpert):
    task = real_tasks(chexpert, 0.03, 1)[0]
    for drawn in task.draw(0):
        number = np.array([int(path.split("patient")[1][:5]) for path in drawn.X])
        np.testing.assert_array_equal(drawn.a, np.array(["F", "M"])[number % 2])
        np.testing.assert_array_equal(drawn.y, number // 2 % 2)
        assert len(np.unique(drawn.groups)) == len(number)


def test_papers_figures_are_complete():
    for rows in PAPERS.values():
        assert len(rows) == 7
        assert all(len(figures) == len(PAPERS_COLUMNS) for figures in rows.values())


def test_real_xrays_give_one_task(nih_cxr):
    (task,) = real_tasks(nih_cxr, 1.0, 1)
    train, test = task.draw(0)
    again, _ = task.draw(0)
    assert train.X == again.X
    assert not set(train.groups) & set(test.groups)
    counts = dict(zip(*np.unique(test.cells, return_counts=True), strict=True))
    assert len(set(counts.values())) == 1
    assert len(train.y) > 60


@pytest.fixture
def few_patients(tmp_path):
    """A tree in the layout of NIH: 40 patients of some ten images, with opacities in some."""
    rng = np.random.default_rng(14)
    patients = np.sort(rng.integers(40, size=400))
    diseased = rng.random(400) < rng.random(40)[patients]
    folder = tmp_path / "nih"
    (folder / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "image.png")
    pixels = (folder / "image.png").read_bytes()
    lines = ["image,patient_id,age,sex,view,findings"]
    for i, (patient, y) in enumerate(zip(patients, diseased, strict=True)):
        (folder / "images" / f"{i:08d}.png").write_bytes(pixels)
        finding = "Infiltration" if y else "No Finding"
        lines.append(f"{i:08d}.png,{90000 + patient},50,{'MF'[patient % 2]},PA,{finding}")
    (folder / "metadata.csv").write_text("\n".join(lines))
    return folder


def test_the_scale_holds_for_all_seeds(few_patients):
    """Of patients with many images one seed draws more than another can."""
    (one,), (three,) = (real_tasks(few_patients, 1.0, n_seeds) for n_seeds in (1, 3))
    with pytest.raises(ValueError, match="with no patient in two sets"):
        one.check(3)
    sizes = {tuple(len(part.y) for part in three.draw(seed)) for seed in range(3)}
    assert len(sizes) == 1
    assert three.scale < one.scale


def test_results_of_another_scale_are_not_mixed(few_patients, tmp_path, monkeypatch):
    """More seeds than before may need fewer images."""

    def nothing_measured(*_, **__):
        raise InterruptedError

    monkeypatch.setattr(paper, "run", nothing_measured)
    arguments = ["--data", few_patients, "--encoder", "linear", "--seeds"]
    with pytest.raises(InterruptedError):
        run(tmp_path / "out", *arguments, 1)
    with pytest.raises(SystemExit, match="results with other settings of \\['scale'\\]"):
        run(tmp_path / "out", *arguments, 3)


def test_a_task_that_cannot_be_drawn_is_known_before_any_work(chexpert, tmp_path):
    arguments = ["--data", chexpert, "--scale", 0.03, "--seeds", 1, "--systems", "ERM"]
    with pytest.raises(ValueError, match=r"needs 156 images .* there are 60"):
        run(tmp_path / "out", *arguments, "--tasks", "Pneumonia", "Pleural Effusion")
    assert not (tmp_path / "out").exists()


def test_intervals_by_hand():
    values = pd.Series([0.5, 0.6, 0.8, 0.7])
    t = stats.t.ppf(0.975, 3)
    assert half_width(values, False, 100, 50) == pytest.approx(t * values.std() / 2)
    corrected = np.sqrt((1 / 4 + 50 / 100) * values.var())
    assert half_width(values, True, 100, 50) == pytest.approx(t * corrected)
    assert np.isnan(half_width(values[:1], False, 100, 50))


def test_table_of_one_seed_has_no_interval():
    index = pd.MultiIndex.from_tuples(
        [("t", 0, "ERM", "papers")], names=["task", "seed", "system", "head"]
    )
    found = pd.DataFrame({"accuracy": [0.5], "n_train": [10], "n_test": [10]}, index=index)
    assert table(found, False).loc["ERM", "accuracy"] == "0.500"
    assert (
        beside_papers(found.assign(**{"EO_n": 0, "EO_p": 0, "|1-DI| as coded": 0}), "t", {}) is None
    )


class Recorder:
    """An objective that notes where it was evaluated; low where theta's mean is high."""

    def __init__(self, n=8, size=2):
        from skdne.noise import NoiseSpace

        self.space, self.n = NoiseSpace((1, size, size)), n
        self.codes, self.weights = np.arange(n) % 2, np.ones(n)
        self.asked = []

    def __len__(self):
        return self.n

    def shares(self, rows):
        return np.full(len(rows), 1 / len(rows))

    def value(self, theta, rows, shares=None):
        self.asked.append(theta.clone())
        return -float(theta.mean())

    def value_and_gradient(self, theta, rows):
        return self.value(theta, rows), -theta.new_ones(theta.shape)


def test_released_adam_moves_by_its_step_size_each_step():
    """A fresh Adam's first step is its learning rate in the direction of the gradient's sign."""
    solver = ReleasedAdam(step_size=0.1, max_iter=3, batch_size=8)
    steps = list(solver.iterate(Recorder(), 0))
    np.testing.assert_allclose(
        [float(step.theta.mean()) for step in steps], [0.1, 0.2, 0.3], rtol=1e-5
    )


def test_released_gezo_scores_only_the_positive_sign():
    recorder = Recorder()
    solver = ReleasedGeZO(step_size=0.1, max_iter=1, n_directions=3, grid_size=None)
    (step,) = solver.iterate(recorder, 0)
    assert len(recorder.asked) == 3 * 2 * 2
    plus = [recorder.asked[4 * i + 2] for i in range(3)]
    best = max(plus, key=lambda theta: float(theta.mean()))
    np.testing.assert_array_equal(step.theta, best)
