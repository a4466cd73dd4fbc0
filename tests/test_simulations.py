"""The committed simulations, in short: what was verified stays so. The whole: ``benchmarks/``."""

import numpy as np
import pytest
from _false_alarms_removed import LAYOUTS, one_run
from content_loss import losses
from leakage_coverage import coverage

from skdne import auc


def test_the_leakage_interval_holds_what_the_probes_read():
    found = coverage(40, layouts=["190/10/10/190"], shifts=["nothing to read"])
    assert found["coverage"].item() >= 0.92


def test_it_would_not_if_the_luck_that_folds_share_were_left_out(monkeypatch):
    monkeypatch.setattr(auc, "CROSS_FITTED", 0)
    found = coverage(40, layouts=["190/10/10/190"], shifts=["nothing to read"])
    assert found["coverage"].item() < 0.9


@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_taking_the_attribute_is_no_loss_and_taking_half_of_the_disease_is(correlation):
    attribute, half = losses(12, correlations=[correlation])["said to be lost"]
    assert attribute <= 1 / 12
    assert half >= 10 / 12


@pytest.mark.parametrize("layout", LAYOUTS)
def test_removed_is_not_said_of_what_is_still_there(layout):
    outcomes = [one_run(LAYOUTS[layout], np.random.default_rng(seed)) for seed in range(6)]
    assert outcomes.count("removed") == 0
