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


def search():
    network = MLPBinaryClassifier((8,), max_iter=3, random_state=0, n_threads=1)
    grid = {"mlpbinaryclassifier__alpha": [1e-4, 1.0], "mlpbinaryclassifier__batch_size": [20, 50]}
    return GridSearchCV(make_pipeline(StandardScaler(), network), grid, cv=3)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.long)])
def test_scores_are_those_of_one_process(processes):
    X, y = table(600)
    with cluster(2, processes=processes) as client, parallel_config(backend="dask"):
        found = quietly(search().fit, X, y)
        assert client.scheduler_info()["workers"]
    expected = quietly(search().fit, X, y)
    scores = found.cv_results_["mean_test_score"]
    assert np.array_equal(scores, expected.cv_results_["mean_test_score"])
    assert found.best_params_ == expected.best_params_
    assert np.array_equal(found.predict_proba(X), expected.predict_proba(X))
