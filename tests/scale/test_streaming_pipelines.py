"""streaming.fit on pipelines: transformers in passes of their own, then the network."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, MinMaxScaler, StandardScaler

from fastmlp import MLPBinaryClassifier, streaming

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, F = 6000, 6
SMALL = 200_000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, F)) * 10.0 ** np.arange(F) + 3
    return X, X[:, 0] > 3


def network(**parameters):
    return MLPBinaryClassifier((8,), random_state=0, max_iter=3, **parameters)


def stream(model, X, y, rows=500, **arguments):
    def chunks():
        for first in range(0, len(X), rows):
            yield X[first : first + rows], y[first : first + rows]

    return streaming.fit(model, chunks, target=None, **arguments)


@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler()],
        [MinMaxScaler()],
        [MaxAbsScaler(), "passthrough", StandardScaler()],
        [StandardScaler(), IncrementalPCA(4)],
    ],
)
@pytest.mark.parametrize("memory", [SMALL, 2**26])
def test_steps_are_fitted_as_on_all_rows(data, steps, memory):
    X, y = data
    model = make_pipeline(*steps, network())
    assert stream(model, X, y, memory=memory) is model
    transformed = X
    for step, (_, fitted) in zip(steps, model.steps, strict=False):
        if step == "passthrough":
            continue
        step = clone(step)
        if not isinstance(step, IncrementalPCA):
            expected = step.fit_transform(transformed)
            np.testing.assert_allclose(fitted.transform(transformed), expected, rtol=1e-6)
        transformed = fitted.transform(transformed)
    if memory > SMALL:
        alone = network().fit(transformed, y)
        np.testing.assert_array_equal(model[-1].coefs_[0], alone.coefs_[0])
    np.testing.assert_array_equal(model.predict(X), model[-1].predict(transformed))
    assert model[-1].t_ == 3 * N


@pytest.mark.parametrize("rows", [7, 5000])
def test_sizes_of_chunks_do_not_matter(data, rows):
    a, b = (
        stream(make_pipeline(StandardScaler(), IncrementalPCA(3), network()), *data, rows=each)
        for each in (800, rows)
    )
    np.testing.assert_array_equal(a[-1].coefs_[0], b[-1].coefs_[0])


def test_a_warning_that_is_an_error_leaves_all_steps_fitted(data):
    model = make_pipeline(StandardScaler(), network())
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            stream(model, *data)
    np.testing.assert_array_equal(
        model.predict(data[0]), model[-1].predict(model[0].transform(data[0]))
    )


def test_names_and_validation(data):
    pd = pytest.importorskip("pandas")
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = make_pipeline(StandardScaler(), network(early_stopping=True))
    stream(model, frame, y, memory=SMALL, validation=lambda: iter([(frame[:1000], y[:1000])]))
    assert model.feature_names_in_.tolist() == list("abcdef")
    assert model[-1].best_validation_score_ == pytest.approx(model.score(frame[:1000], y[:1000]))
    framed = make_pipeline(StandardScaler(), network()).set_output(transform="pandas")
    stream(framed, frame, y)
    assert framed[-1].feature_names_in_.tolist() == list("abcdef")
    framed.predict(frame)


def test_what_cannot_be_streamed(data):
    with pytest.raises(ValueError, match="Step 'pca', PCA, has no partial_fit"):
        stream(make_pipeline(StandardScaler(), PCA(), network()), *data)
    with pytest.raises(TypeError, match="a Pipeline that ends in one"):
        stream(Pipeline([("scaler", StandardScaler())]), *data)
    with pytest.raises(ValueError, match="lbfgs"):
        stream(make_pipeline(StandardScaler(), network(solver="lbfgs")), *data)

    class Bad(FunctionTransformer):
        def partial_fit(self, X):
            return self

    bad = make_pipeline(Bad(np.log), network())
    with pytest.raises(ValueError, match="step 'bad', chunk 0, row 0, column 0: nan is not"):
        stream(bad, -np.abs(data[0]), data[1])
    assert not hasattr(bad[-1], "coefs_")
