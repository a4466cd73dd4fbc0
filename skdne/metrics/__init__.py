"""Group-fairness metrics, scorers for cross-validation and a refit rule for grid search."""

from skdne.metrics.group_fairness import (
    disparate_impact,
    equal_opportunity_difference,
    true_positive_rate_ratio_gap,
    worst_group_accuracy,
)
from skdne.metrics.rates import group_rates
from skdne.metrics.search import (
    constrained_refit,
    di_scorer,
    eo_scorer,
    fairness_scorer,
    worst_group_scorer,
)

__all__ = [
    "constrained_refit",
    "di_scorer",
    "disparate_impact",
    "eo_scorer",
    "equal_opportunity_difference",
    "fairness_scorer",
    "group_rates",
    "true_positive_rate_ratio_gap",
    "worst_group_accuracy",
    "worst_group_scorer",
]
