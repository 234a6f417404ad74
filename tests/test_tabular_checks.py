"""scikit-learn's own checks of the estimator for tables."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import TabularMLPBinaryClassifier

#: What it does by design, and why.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "rows that are repeated fall into several folds, and weights do not"
    ),
    "check_sample_weight_equivalence_on_sparse_data": (
        "rows that are repeated fall into several folds, and weights do not"
    ),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [TabularMLPBinaryClassifier(n_folds=2, max_iter=5)],
    expected_failed_checks=lambda estimator: EXPECTED,
)
def test_checks(estimator, check):
    check(estimator)
