"""What the benchmarks of erasure share: figures of a disease head, and means over seeds."""

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdne.metrics import equal_opportunity_difference


def head_figures(Z_train, y_train, Z, y, a, sample_weight=None):
    """Accuracy, AUC and EO of a standardised logistic regression."""
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(Z_train, y_train, logisticregression__sample_weight=sample_weight)
    predicted = head.predict(Z)
    figures = {
        "accuracy": accuracy_score(y, predicted),
        "disease_auc": roc_auc_score(y, head.decision_function(Z)),
    }
    for name, positive in (("eo_p", 1), ("eo_n", 0)):
        figures[name] = equal_opportunity_difference(
            y, predicted, sensitive_features=a, positive_label=positive
        )
    return figures


def mean_and_interval(values):
    """Mean ± half-width of the 95% t-interval, as text."""
    n = len(values)
    half = stats.t.ppf(0.975, n - 1) * values.sem() if n > 1 else np.nan
    return f"{values.mean():.3f} ±{half:.3f}"
