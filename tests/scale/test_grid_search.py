"""GridSearchCV whose fits run on a cluster, by joblib's backend for Dask."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytest.importorskip("distributed")

from in_process import cluster, quietly, table

from fastmlp import MLPBinaryClassifier

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def search(n_threads):
    network = MLPBinaryClassifier((150,), max_iter=2, random_state=0, n_threads=n_threads)
    grid = {"mlpbinaryclassifier__alpha": [1e-4, 1.0], "mlpbinaryclassifier__batch_size": [20, 500]}
    return GridSearchCV(make_pipeline(StandardScaler(), network), grid, cv=3)


@pytest.mark.parametrize("processes", [False, True])
def test_scores_are_those_of_one_process(processes):
    """Also of fits that take threads of their own in a worker of several threads."""
    n_threads = 2 if processes else 1
    X, y = table(600)
    with (
        cluster(2, processes=processes, threads=n_threads) as client,
        parallel_config(backend="dask"),
    ):
        found = quietly(search(n_threads).fit, X, y)
        assert client.scheduler_info()["workers"]
    expected = quietly(search(1).fit, X, y)
    scores = found.cv_results_["mean_test_score"]
    assert np.array_equal(scores, expected.cv_results_["mean_test_score"])
    assert found.best_params_ == expected.best_params_
    assert np.array_equal(found.predict_proba(X), expected.predict_proba(X))
