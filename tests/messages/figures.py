"""Metrics, searches, audits, the other systems, and data sets."""

import sys

import numpy as np
import torch
from helpers import small_encoder, small_images
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from skdne import CallableEncoder, TorchEncoder
from skdne.audit import (
    FairnessAudit,
    attribute_leakage,
    choose_threshold,
    edit_sizes,
    nadeau_bengio_interval,
    structural_similarity,
)
from skdne.baselines import (
    BatchSamplingClassifier,
    BiasAdvClassifier,
    ExponentiatedGradientClassifier,
    GroupDROClassifier,
    LinearHeadClassifier,
    ReweighedClassifier,
    SketchTransformer,
    ThresholdOptimizerClassifier,
)
from skdne.datasets import (
    CHEXPERT_FINDINGS,
    biased_split,
    load_chexpert,
    load_image_table,
    load_nih_chest_xray14,
    make_biased_images,
    plant_opacity,
    plant_stamp,
    scale_cells,
)
from skdne.metrics import (
    constrained_refit,
    disparate_impact,
    eo_scorer,
    equal_opportunity_difference,
    worst_group_accuracy,
)

X, y, a = small_images(40)
Z = np.random.default_rng(0).normal(size=(40, 5))


def metric(y_true=y, y_pred=y, a=a, **options):
    return equal_opportunity_difference(y_true, y_pred, sensitive_features=a, **options)


def refit(results, fairness="f", utility="u", tolerance=0.02):
    rule = constrained_refit(fairness=fairness, utility=utility, tolerance=tolerance)
    return rule({f"mean_test_{name}": np.array(values) for name, values in results.items()})


def audit(y=y, y_score=None, a=a, **options):
    if y_score is None and "y_pred" not in options:
        y_score = np.tile([0.2, 0.7], 20)
    return FairnessAudit.from_predictions(y, y_score=y_score, sensitive_features=a, **options)


def audit_of(estimator, y=y, **options):
    return FairnessAudit.from_estimator(estimator, Z, y, sensitive_features=a, **options)


def without_matplotlib(world):
    found = audit(n_bootstrap=20, n_permutations=20)
    world.patch.setitem(sys.modules, "matplotlib.pyplot", None)
    world.patch.setitem(sys.modules, "matplotlib.figure", None)
    world.patch.setitem(sys.modules, "matplotlib", None)
    found.to_html(world.path / "report.html")


def head(classifier, y=y, a=a, Z=Z):
    return classifier.fit(Z, y, sensitive_features=a)


def predict(a):
    return head(ThresholdOptimizerClassifier()).predict(Z[:2], sensitive_features=a)


class NoGradient(torch.nn.Flatten):
    @torch.no_grad()
    def forward(self, images):
        return 2 * super().forward(images)


def split(y=(0, 1, 0, 1, 0, 1), a=("F",) * 6, groups=None, **options):
    cells = {"train_cells": {(0, "F"): 1}, "test_cells": {(0, "F"): 1}, **options}
    return biased_split(list(y), list(a), groups, **cells)


def table(world, *rows, header="path,label,attribute,who", **options):
    file = world.path / "table.csv"
    file.write_text("\n".join([header, *rows]) if header else "")
    return load_image_table(file, **options)


CHEXPERT = dict.fromkeys(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_FINDINGS], "")
CHEXPERT |= {"Path": "train/patient00001/study1/view1_frontal.jpg", "Sex": "Female", "Age": "60"}
CHEXPERT |= {"Frontal/Lateral": "Frontal", "AP/PA": "AP"}
NIH = {"Image Index": "1.png", "Finding Labels": "Edema", "Patient ID": "1", "Patient Age": "60"}
NIH |= {"Patient Sex": "F", "View Position": "PA"}


def write(path, row, **values):
    row = {**row, **{name.replace("_", " "): value for name, value in values.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(",".join(row) + "\n" + ",".join(row.values()) + "\n")
    for name in ("Path", "Image Index"):
        if name in row:
            image = (
                path.parent / "images" / row[name] if name != "Path" else path.parent / row[name]
            )
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
    return path


def chexpert(world, values=None, **options):
    write(world.path / "train.csv", CHEXPERT, **(values or {}))
    return load_chexpert(world.path, **options)


def two_releases(world):
    for version in ("", "CheXpert-v1.0"):
        write(world.path / version / "train.csv", CHEXPERT)
    load_chexpert(world.path)


def race(world, *rows, name="race.csv"):
    sheet = world.path / name
    sheet.write_text("\n".join(["PATIENT,PRIMARY_RACE", *rows]))
    chexpert(world, race_csv=sheet)


def nih(world, **values):
    write(world.path / "Data_Entry_2017_v2020.csv", NIH, **values)
    return load_nih_chest_xray14(world.path)


HOLES = np.where(np.arange(40) < 2, None, a)
BLACK_BOX = CallableEncoder(lambda x: x.reshape(len(x), -1), input_size=(8, 8))
BROKEN = TorchEncoder(NoGradient(), input_size=(8, 8))
SMALL_BATCH = GroupDROClassifier(batch_size=3)
KNN = KNeighborsClassifier()
PAIR = np.zeros((2, 8, 8))
IN_FOLDS = {"groups": np.arange(40) // 20}
SCORER = eo_scorer()
CASES = [
    # metrics and searches
    lambda world: metric([], [], []),
    lambda world: metric(y_pred=y[1:]),
    lambda world: metric(y_pred=np.where(np.arange(40) < 2, np.nan, 1.0)),
    lambda world: metric(y_pred=np.linspace(0, 1, 40)),
    lambda world: metric(positive_label="yes"),
    lambda world: metric(a=None),
    lambda world: metric(a=np.zeros((40, 2, 2))),
    lambda world: metric(a=a[1:]),
    lambda world: metric(a=np.zeros((40, 0))),
    lambda world: metric(a=HOLES),
    lambda world: metric(a=["F"] * 40),
    lambda world: metric(y_true=(a == "F") + 0),
    lambda world: disparate_impact(y, 0 * y, sensitive_features=a),
    lambda world: worst_group_accuracy(y, y, sensitive_features=["F"] * 40),
    lambda world: SCORER(KNN.fit(Z, y), Z, y),
    lambda world: refit({"f": [np.nan], "u": [0.8]}),
    lambda world: refit({"f": [0.0], "u": [np.nan]}),
    lambda world: refit({"score": [1.0]}),
    lambda world: refit({}, tolerance=-0.1),
    lambda world: refit({}, utility=len),
    # audits
    lambda world: audit(y=None),
    lambda world: audit(y=np.where(np.arange(40) < 2, np.nan, y)),
    lambda world: audit(y=0 * y),
    lambda world: audit(positive_label=7),
    lambda world: audit(a=None),
    lambda world: audit(a=a[1:]),
    lambda world: audit(a=["F"] * 40),
    lambda world: audit(groups=HOLES),
    lambda world: audit(y_pred=None),
    lambda world: audit(y_score=np.ones(39)),
    lambda world: audit(y_score=np.full(40, np.nan)),
    lambda world: audit(y_score=np.linspace(-3, 3, 40)),
    lambda world: audit(y_pred=y[1:]),
    lambda world: audit(y_pred=y + 1),
    lambda world: audit(y_pred=y, threshold=0.3),
    lambda world: audit(baseline_pred=y),
    lambda world: audit(findings=np.zeros((40, 1))),
    lambda world: audit(embeddings=Z[1:]),
    lambda world: audit(embeddings=np.full((40, 5), np.nan)),
    lambda world: audit(originals=X),
    lambda world: audit(originals=X[1:], edited=X[1:]),
    lambda world: audit(level=2),
    lambda world: audit(n_bootstrap=3),
    lambda world: audit(n_permutations=20, level=0.01),
    lambda world: audit_of(KNN.fit(Z, y), y=y + 5),
    lambda world: audit_of(make_pipeline(KNN).fit(Z, y), baseline=make_pipeline(KNN)),
    lambda world: audit_of(KNN.fit(Z, np.arange(40) % 3), y=np.arange(40) % 3, validation=(Z, y)),
    without_matplotlib,
    lambda world: attribute_leakage(Z, sensitive_features=a, **IN_FOLDS),
    lambda world: choose_threshold(y, y[1:]),
    lambda world: choose_threshold(y, ["high"] * 40),
    lambda world: choose_threshold(y, y, positive_label=7),
    lambda world: edit_sizes(PAIR, PAIR[1:]),
    lambda world: structural_similarity(PAIR, PAIR[1:]),
    lambda world: structural_similarity(PAIR, PAIR),
    lambda world: nadeau_bengio_interval([0.1], 10, 10),
    lambda world: nadeau_bengio_interval([0.1, 0.2], 0, 10),
    lambda world: nadeau_bengio_interval([0.1, 0.2], 10, 10, confidence=95),
    # the other systems
    lambda world: BiasAdvClassifier(BLACK_BOX).fit(X, y),
    lambda world: BiasAdvClassifier(BROKEN).fit(X, y),
    lambda world: BiasAdvClassifier(small_encoder()).fit(X, y[1:]),
    lambda world: LinearHeadClassifier().fit(Z, 0 * y),
    lambda world: head(ExponentiatedGradientClassifier(), y=np.arange(40) % 3),
    lambda world: head(ExponentiatedGradientClassifier(KNN)),
    lambda world: head(ReweighedClassifier(KNN)),
    lambda world: head(ReweighedClassifier(LinearSVC()), a=None),
    lambda world: head(BatchSamplingClassifier(), a=a[1:]),
    lambda world: head(BatchSamplingClassifier(), a=[None] * 40),
    lambda world: head(BatchSamplingClassifier(max_iter=1), a=HOLES),
    lambda world: head(BatchSamplingClassifier(max_iter=1), y[:9], a[:9], Z[:9]),
    lambda world: head(SMALL_BATCH),
    lambda world: predict(None),
    lambda world: predict(["F"]),
    lambda world: predict(["F", None]),
    lambda world: predict(["F", "X"]),
    lambda world: SketchTransformer(lambda x: x[:, 0]).transform(X),
    lambda world: SketchTransformer(lambda x: x - 1).transform(X),
    # data sets
    lambda world: split(a=["F"]),
    lambda world: split(groups=[1, 2, 3, None, 5, 6]),
    lambda world: split(scale=0),
    lambda world: split(test_cells={"F": 1}),
    lambda world: split(test_cells={(0, "F"): -1}),
    lambda world: split(test_cells={}),
    lambda world: split(test_cells=[1, 2]),
    lambda world: split(train_cells={(0, "F"): 4}),
    lambda world: split(train_cells={(0, "Female"): 4}),
    lambda world: split([0] * 4, ["F"] * 4, [1, 1, 2, 2], train_cells={(0, "F"): 3}),
    lambda world: scale_cells({(0, "F"): 1}, 2),
    lambda world: make_biased_images(0),
    lambda world: make_biased_images(image_size=100),
    lambda world: make_biased_images(cue="smell"),
    lambda world: make_biased_images(cue="band", overlap=0.5),
    lambda world: make_biased_images(cells={(2, "M"): 3}),
    lambda world: make_biased_images(cells={(1, "M"): 0}),
    lambda world: plant_opacity(np.zeros((1, 8, 9), np.uint8), [1]),
    lambda world: plant_opacity(np.zeros((2, 8, 8), np.uint8), [1]),
    lambda world: plant_stamp(np.zeros((2, 8, 8), np.uint8), ["A"]),
    lambda world: table(world, header=""),
    lambda world: table(world),
    lambda world: table(world, "0.png,1,F,3", attribute="sex"),
    lambda world: table(world, "table.csv,1,F,", patient="who"),
    lambda world: table(world, "0.png,1,F,3"),
    lambda world: table(world, *["table.csv,1,F,3"] * 2),
    lambda world: load_chexpert(world.path / "nowhere"),
    lambda world: load_chexpert(world.path),
    two_releases,
    lambda world: chexpert(world, uncertain="half"),
    lambda world: chexpert(world, {"Path": "train/p3/study1/view1_frontal.jpg"}),
    lambda world: chexpert(world, {"Frontal/Lateral": "Lateral"}),
    lambda world: chexpert(world, {"Edema": "2.0"}),
    lambda world: chexpert(world, {"Sex": "Man"}),
    lambda world: chexpert(world, {"Age": "old"}),
    lambda world: race(world, name="race.xlsx"),
    lambda world: race(world, "patient00001,White", "patient00001,Asian"),
    lambda world: race(world, "7,White"),
    lambda world: load_nih_chest_xray14(world.path / "nowhere"),
    lambda world: load_nih_chest_xray14(world.path, csv="mine.csv"),
    lambda world: load_nih_chest_xray14(world.path),
    lambda world: nih(world, Finding_Labels="Gout"),
    lambda world: nih(world, Patient_Sex="X"),
    lambda world: nih(world, Patient_Age="old"),
]
