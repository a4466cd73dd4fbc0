"""Measure what linear probes read from the bundled encoder; the tables of docs/model_card.md.

python tools/measure_encoder.py --images <folder with metadata.csv, images/>
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdne import DebiasedNoiseTransformer, bundled_encoder
from skdne.datasets import encoder_training_patients
from skdne.images import check_images

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("--images", type=Path, required=True)
args = parser.parse_args()

table = pd.read_csv(args.images / "metadata.csv")
table = table[~table["patient_id"].isin(encoder_training_patients())]
paths = [str(args.images / "images" / name) for name in table["image"]]
Z = DebiasedNoiseTransformer(bundled_encoder(), solver=None).fit_transform(paths)
thumbnails = check_images(paths, n_channels=1, input_size=(16, 16)).batch(np.arange(len(paths)))
labels = {"sex (M)": table["sex"] == "M", "view (AP)": table["view"] == "AP"}
labels["age above the median"] = table["age"] > table["age"].median()
findings = table["findings"].str.get_dummies("|")
labels |= {name: findings[name] == 1 for name in findings if findings[name].sum() >= 15}

print(f"{len(table)} held-out patients; AUC, mean and sd over 5 re-splits")
print(f"{'label':22s}positives  encoder      16 x 16 thumbnail")
for name, label in labels.items():
    row = []
    for features, C in ((Z, 0.01), (thumbnails.reshape(len(table), -1), 0.001)):
        probe = make_pipeline(
            StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=2000)
        )
        aucs = []
        for seed in range(5):
            folds = StratifiedKFold(5, shuffle=True, random_state=seed)
            scores = cross_val_predict(probe, features, label, cv=folds, method="decision_function")
            aucs.append(roc_auc_score(label, scores))
        row.append(f"{np.mean(aucs):.3f} ({np.std(aucs):.3f})")
    print(f"{name:22s}{label.sum():9d}  {row[0]}  {row[1]}")
