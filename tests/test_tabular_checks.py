"""scikit-learn's own checks of the estimator for tables."""

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

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


ESTIMATOR = TabularMLPBinaryClassifier(n_folds=2, max_iter=5)


def name_of(value):
    return "default" if value is ESTIMATOR else value.func.__name__


# parametrize_with_checks would do, but older versions of scikit-learn hand pytest a generator.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(ESTIMATOR, expected_failed_checks=EXPECTED, mark="xfail")),
    ids=name_of,
)
def test_checks(estimator, check):
    check(estimator)
