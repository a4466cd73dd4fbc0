"""scikit-learn's own suite over every solver, and proof that it really ran."""

import numpy as np
import pytest
import torch
from helpers import small_encoder
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks

from skdne import (
    SPSA,
    Adam,
    BlockErasure,
    DebiasedNoiseTransformer,
    GatedErasure,
    GeZO,
    TorchEncoder,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::skdne.DebiasingWarning"),
    pytest.mark.filterwarnings("ignore::skdne.PixelRangeWarning"),  # checks feed any floats
]


class AlternatingAttribute(DebiasedNoiseTransformer):
    """The suite knows no sensitive features: supply some, for checks that call fit(X, y)."""

    def fit(self, X, y=None, *, sensitive_features=None, groups=None):
        if sensitive_features is None:
            shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
            sensitive_features = np.arange(*shape[:1]) % 2 if shape else [0]
        return super().fit(X, y, sensitive_features=sensitive_features, groups=groups)


class InDouble(torch.nn.Module):
    """Computes in float64: the suite compares batches of different sizes to 1e-7."""

    def __init__(self, net):
        super().__init__()
        self.net = net.double()

    def forward(self, images):
        return self.net(images.double()).float()


ENCODER = TorchEncoder(
    InDouble(small_encoder().module), input_size=(8, 8), n_channels=1, precision="float32"
)
SOLVERS = [
    Adam(max_iter=1),
    GeZO(max_iter=1, n_local_iter=2, n_directions=1),
    SPSA(max_iter=1, n_local_iter=2, n_pairs=1),
    BlockErasure(block_size=4, n_images=16, n_permutations=39),
    GatedErasure(block_size=4, max_iter=2, batch_size=8, n_images=16, n_permutations=39),
]
ESTIMATORS = [
    DebiasedNoiseTransformer(ENCODER, solver=None),
    *(AlternatingAttribute(ENCODER, solver=solver, leakage=False) for solver in SOLVERS),
]

# What ran in scikit-learn 1.9.1: 46 checks of these 44 names. A wrong tag silently skips most.
CHECKS = [
    "check_array_api_input",
    "check_complex_data",
    "check_dict_unchanged",
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimator_tags_renamed",
    "check_estimators_dtypes",
    "check_estimators_empty_data_messages",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_estimators_unfitted",
    "check_f_contiguous_array_estimator",
    "check_fit1d",
    "check_fit2d_1feature",
    "check_fit2d_1sample",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_get_params_invariance",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_mixin_order",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_set_params",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_transformer_n_iter",
    "check_transformers_unfitted",
    "check_valid_tag_types",
]


@parametrize_with_checks(ESTIMATORS)
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: str(e.solver))
def test_the_suite_is_not_skipped(estimator):
    names = [check.func.__name__ for _, check in estimator_checks_generator(estimator)]
    assert len(names) == 46
    assert sorted(set(names)) == CHECKS
