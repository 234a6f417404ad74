"""Transformers of tables, beside plain formulas, scikit-learn's trees and its estimator checks."""

import math
import pickle
import textwrap

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import estimator_checks_generator

import fastmlp.preprocessing
from fastmlp.data import edges as edges_module
from fastmlp.data.edges import column_edges
from fastmlp.data.scaling import center_and_scale, smooth_clip
from fastmlp.preprocessing import PiecewiseLinearEncoder, SmoothRobustScaler

NAN = np.nan

TRANSFORMERS = [
    SmoothRobustScaler(),
    PiecewiseLinearEncoder(),
    PiecewiseLinearEncoder(n_bins=5, bins="tree", min_samples_leaf=1),
]


def name_of(value):
    return repr(value) if hasattr(value, "fit") else value.func.__name__


@pytest.mark.parametrize(
    ("transformer", "check"),
    [pair for each in TRANSFORMERS for pair in estimator_checks_generator(each)],
    ids=name_of,
)
def test_estimator_checks(transformer, check):
    if "array_api" in check.func.__name__:
        return  # needs a switch of SciPy's, to be set before its import
    check(transformer)


# --- edges


def naive_quantiles(x, n_bins, weight):
    order = sorted(range(len(x)), key=lambda i: x[i])
    total = sum(weight)
    found = {min(x), max(x)}
    for k in range(1, n_bins):
        up_to = 0
        for i in order:
            up_to += weight[i]
            if up_to >= k / n_bins * total:
                found.add(x[i])
                break
    return sorted(found)


columns = st.lists(st.integers(-5, 5) | st.floats(-1e3, 1e3), min_size=1, max_size=30)


@given(columns, st.integers(1, 8), st.randoms(use_true_random=False))
def test_edges_at_quantiles(x, n_bins, random):
    x = np.array(x, dtype=float)
    weight = np.array([random.randint(0, 3) for _ in x], dtype=float)
    for w in (None, weight):
        found = column_edges(x, None, n_bins, 1, w)
        kept = np.ones(len(x), bool) if w is None else w > 0
        expected = (
            naive_quantiles(x[kept], n_bins, np.ones(len(x)) if w is None else w[kept])
            if kept.any()
            else []
        )
        np.testing.assert_array_equal(found, expected if len(expected) > 1 else [])
    repeated = np.repeat(x, weight.astype(int))
    np.testing.assert_array_equal(
        column_edges(x, None, n_bins, 1, weight), column_edges(repeated, None, n_bins, 1)
    )


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("min_samples_leaf", [1, 7, 60])
@pytest.mark.parametrize("distinct", [2, 9, 400])
@pytest.mark.parametrize("n_bins", [1, 2, 6, 48])
def test_edges_are_the_cuts_of_scikit_learns_tree(n_classes, min_samples_leaf, distinct, n_bins):
    rng = np.random.default_rng(distinct + n_bins)
    x = rng.integers(0, distinct, 400) / 8
    y = (rng.random(400) * n_classes * (0.5 + x / x.max() / 2)).astype(int)
    y = np.unique(y, return_inverse=True)[1]
    # Weights let no two cuts be equally good; their sums are exact, and so are leaves of one class.
    weight = rng.integers(2**10, 2**20, 400) / 2**16
    tree = DecisionTreeClassifier(
        max_leaf_nodes=max(n_bins, 2), min_samples_leaf=min_samples_leaf, random_state=0
    )
    tree = tree.fit(x[:, None], y, sample_weight=weight).tree_
    cuts = np.sort(tree.threshold[tree.feature >= 0]) if n_bins > 1 else []
    found = column_edges(x, y, n_bins, min_samples_leaf, weight)
    np.testing.assert_array_equal(found, np.unique([x.min(), *cuts, x.max()]))


def test_a_tree_takes_as_much_impurity_away_as_scikit_learns():
    rng = np.random.default_rng(0)
    x = rng.normal(size=2000).astype(np.float32)
    y = (rng.random(2000) < 1 / (1 + np.exp(-2 * x))).astype(int)
    tree = DecisionTreeClassifier(max_leaf_nodes=20, min_samples_leaf=20, random_state=0)
    tree = tree.fit(x[:, None], y).tree_
    theirs = np.sort(tree.threshold[tree.feature >= 0])

    def impurity(cuts):
        counts = np.array([np.bincount(part, minlength=2) for part in parts(cuts)], dtype=float)
        assert counts.sum(axis=1).min() >= 20
        return (counts[:, 0] * counts[:, 1] / counts.sum(axis=1)).sum()

    def parts(cuts):
        bins = np.searchsorted(cuts, x)
        return [y[bins == t] for t in range(len(cuts) + 1)]

    found = column_edges(x.astype(float), y.astype(bool), 20, 20)
    assert len(found) == 21
    assert impurity(found[1:-1]) == pytest.approx(impurity(theirs), rel=1e-3)


@pytest.mark.parametrize("y", [None, np.array([0, 1, 0, 1])])
@pytest.mark.parametrize(
    "x",
    [[1.0] * 4, [NAN] * 4, [NAN, 2, NAN, 2], np.float32([1] * 4), [1, 1 + 1e-12, 1, 1 + 1e-12]],
)
def test_columns_without_two_values_have_no_edges(x, y):
    x = np.asarray(x)
    assert column_edges(x, y, 4, 1, dtype=np.float32).shape == (0,)
    assert column_edges(x[:0], y if y is None else y[:0], 4, 1).shape == (0,)
    assert column_edges(np.arange(4.0), y, 4, 1, np.zeros(4)).shape == (0,)


@pytest.mark.parametrize("y", [None, np.arange(40) % 2])
def test_edges_differ_in_single_precision(y):
    x = 1 + np.arange(40) * 2.0**-25
    assert len(column_edges(x, y, 48, 1)) == (40 if y is None else 41)
    found = column_edges(x, y, 48, 1, dtype=np.float32)
    assert found.dtype == np.float64
    assert (np.diff(found.astype(np.float32)) > 0).all()
    assert 2 < len(found) < 20


@pytest.mark.parametrize("y", [None, np.arange(6) % 2])
def test_rows_with_nan_or_no_weight_are_left_out(y):
    x = np.array([3.0, NAN, 1, 2, -99, 5])
    weight = np.array([1, 1, 2, 0.5, 0, 1])
    kept = [0, 2, 3, 5]
    np.testing.assert_array_equal(
        column_edges(x, y, 4, 1, weight),
        column_edges(x[kept], y if y is None else y[kept], 4, 1, weight[kept]),
    )


def test_values_of_any_size():
    x = np.array([-1.7e308, 1.7e308, 1.6e308, 5e-324])
    with np.errstate(all="raise", under="ignore"):
        found = column_edges(x, np.array([0, 1, 0, 1]), 4, 1)
    np.testing.assert_array_equal(found[[0, -1]], [-1.7e308, 1.7e308])
    assert np.isfinite(found).all()
    assert len(found) == 5


@pytest.mark.parametrize("with_y", [False, True])
@pytest.mark.parametrize("with_weight", [False, True])
def test_many_rows_are_looked_at_in_part(with_y, with_weight, monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=20_000)
    y = x > 0.5 if with_y else None
    weight = rng.random(len(x)) if with_weight else None
    whole = column_edges(x, y, 4, 20, weight)
    monkeypatch.setattr(edges_module, "MOST_ROWS", 5_000)
    part = column_edges(x, y, 4, 20, weight)
    np.testing.assert_array_equal(part, column_edges(x, y, 4, 20, weight))
    np.testing.assert_array_equal(part[[0, -1]], [x.min(), x.max()])
    np.testing.assert_allclose(part, whole, atol=0.1)
    assert with_y or not np.array_equal(part, whole)
    rows = edges_module._some_rows(20_000)
    assert len(rows) > 4_500
    assert (np.diff(rows) > 0).all()
    assert rows[0] >= 0
    assert rows[-1] < 20_000


# --- scaler


def naive_scaled(train, x):
    """One value, after the values of its column in training."""
    present = [value for value in train if not math.isnan(value)]
    if not present:
        center, scale = 0.0, 1.0
    else:
        low, center, high = np.quantile(present, [0.25, 0.5, 0.75])
        scale = high - low or (max(present) - min(present)) / 2 or 1.0
    x = (x - center) / scale
    return x / math.sqrt(1 + (x / 3) ** 2)


tables = arrays(
    st.sampled_from([np.float64, np.float32]),
    st.tuples(st.integers(1, 12), st.integers(1, 3)),
    elements=st.sampled_from([0.0, 1, -1, 2.5, 100, NAN]) | st.integers(-50, 50),
)


@given(tables)
def test_scaled_values(X):
    scaler = SmoothRobustScaler()
    found = scaler.fit_transform(X)
    assert found.dtype == X.dtype
    expected = [[naive_scaled(X[:, j], value) for j, value in enumerate(row)] for row in X.tolist()]
    np.testing.assert_allclose(found, expected, rtol=1e-6 if X.dtype == np.float32 else 1e-13)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(X))


@pytest.mark.parametrize(
    ("x", "center", "scale"),
    [
        ([1, 2, 3, 4, 5], 3, 2),
        ([7, 7, 7, 7, 7, 9], 7, 1),  # no distance of quartiles: half the range
        ([4, 4], 4, 1),
        ([NAN, NAN], 0, 1),
        ([NAN, 1, NAN, 3], 2, 1),
    ],
)
def test_centers_and_scales(x, center, scale):
    assert center_and_scale(np.array(x, dtype=float)) == (center, scale)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_outliers_come_near_to_three(dtype):
    far = np.finfo(dtype).max
    X = np.array([[0], [1], [2], [3], [far], [-far]], dtype=dtype)
    found = smooth_clip(X, np.array([1.5]), np.array([2.0]))
    np.testing.assert_allclose(found[-2:, 0], [3, -3], rtol=1e-6)
    found = smooth_clip(X, np.array([-1.5]), np.array([1e-320]))
    np.testing.assert_allclose(found[:, 0], [3, 3, 3, 3, 3, -3], rtol=1e-6)
    assert found.dtype == dtype


def test_many_rows_are_scaled_in_blocks():
    X = np.random.default_rng(0).normal(size=(2_500, 3))
    scaler = SmoothRobustScaler().fit(X)
    rows = [scaler.transform(row[None])[0] for row in X]
    np.testing.assert_array_equal(scaler.transform(X), rows)
    np.testing.assert_array_equal(scaler.transform(np.asfortranarray(X)), rows)


# --- piecewise-linear encoding


def naive_piecewise(x, edges):
    n_bins = len(edges) - 1
    encoded = []
    for t in range(n_bins):
        c = (x - edges[t]) / (edges[t + 1] - edges[t])
        if t > 0:
            c = max(c, 0.0)
        if t < n_bins - 1:
            c = min(c, 1.0)
        encoded.append(0.0 if math.isnan(x) else c)
    return encoded


@given(tables, st.integers(1, 6), st.sampled_from(["quantile", "tree"]))
def test_encoded_values(X, n_bins, bins):
    y = np.arange(len(X)) % 2
    encoder = PiecewiseLinearEncoder(n_bins, bins=bins, min_samples_leaf=1).fit(X, y)
    outside = np.vstack([X, np.full_like(X[:1], 1e3), np.full_like(X[:1], -1e3)])
    found = encoder.transform(outside)
    assert found.dtype == X.dtype
    expected = [
        [c for x, edges in zip(row, encoder.edges_, strict=True) for c in naive_piecewise(x, edges)]
        for row in outside.tolist()
    ]
    np.testing.assert_allclose(
        found, np.reshape(expected, found.shape), rtol=2e-6 if X.dtype == np.float32 else 1e-14
    )
    assert found.shape[1] == len(encoder.get_feature_names_out())
    for x, edges in zip(X.T, encoder.edges_, strict=True):
        np.testing.assert_array_equal(
            edges,
            column_edges(x, y if bins == "tree" else None, n_bins, 1, dtype=X.dtype),
        )
        assert len(edges) <= n_bins + 1


def test_bins_of_numbers_that_are_known():
    X = np.array([[0.0], [1], [2], [4]])
    encoder = PiecewiseLinearEncoder(2).fit(X)
    np.testing.assert_array_equal(encoder.edges_[0], [0, 1, 4])
    found = encoder.transform([[-1], [0.5], [1], [2.5], [7], [NAN]])
    np.testing.assert_array_equal(found, [[-1, 0], [0.5, 0], [1, 0], [1, 0.5], [1, 2], [0, 0]])
    single = PiecewiseLinearEncoder(1).fit(X)
    np.testing.assert_array_equal(single.transform([[-4], [2], [8]]), [[-1], [0.5], [2]])


def test_many_rows_are_encoded_in_blocks():
    X = np.random.default_rng(0).normal(size=(1_200, 2))
    encoder = PiecewiseLinearEncoder(5).fit(X)
    rows = [encoder.transform(row[None])[0] for row in X]
    np.testing.assert_array_equal(encoder.transform(X), rows)


def test_weights_and_labels_of_the_tree():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(300, 2)), rng.random(300)
    y = np.where(rng.random(300) < 1 / (1 + np.exp(-3 * X[:, 0])), "yes", "no")
    encoder = PiecewiseLinearEncoder(8, bins="tree").fit(X, y, sample_weight=weight)
    for x, edges in zip(X.T, encoder.edges_, strict=True):
        np.testing.assert_array_equal(edges, column_edges(x, y == "yes", 8, 20, weight))
    assert not np.array_equal(encoder.edges_[0], encoder.fit(X, y).edges_[0])


@pytest.mark.parametrize(
    ("parameters", "y", "message"),
    [
        ({"n_bins": 0}, None, "'n_bins' parameter"),
        ({"bins": "other"}, None, "'bins' parameter"),
        ({"min_samples_leaf": 0}, None, "'min_samples_leaf' parameter"),
        ({"bins": "tree"}, None, "requires y to be passed"),
        ({"bins": "tree"}, [0.5, 1.25, 3.1], "continuous"),
        ({"bins": "tree"}, [0, 1], "inconsistent numbers of samples"),
    ],
)
def test_what_the_encoder_refuses(parameters, y, message):
    with pytest.raises(ValueError, match=message):
        PiecewiseLinearEncoder(**parameters).fit([[1.0], [2.0], [3.0]], y)


@pytest.mark.parametrize("weight", [[1, -1, 1], [1, 1]])
def test_weights_that_the_encoder_refuses(weight):
    with pytest.raises(ValueError, match="sample_weight"):
        PiecewiseLinearEncoder().fit([[1.0], [2.0], [3.0]], sample_weight=weight)


# --- in pipelines


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_names_of_columns(library):
    X = pd.DataFrame({"age": [20.0, 30, 40], "none": 1.0, "pay": [1.0, 2, 9]})
    scaled = SmoothRobustScaler().set_output(transform=library).fit_transform(X)
    assert list(scaled.columns) == ["age", "none", "pay"]
    encoded = PiecewiseLinearEncoder(2).set_output(transform=library).fit_transform(X)
    assert list(encoded.columns) == ["age_bin0", "age_bin1", "pay_bin0", "pay_bin1"]
    plain = PiecewiseLinearEncoder(1).fit(X.to_numpy())
    assert list(plain.get_feature_names_out()) == ["x0_bin0", "x2_bin0"]
    assert list(plain.get_feature_names_out(["a", "b", "c"])) == ["a_bin0", "c_bin0"]


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
def test_a_pipeline_is_cloned_and_pickled(transformer):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 3))
    y = (X[:, 0] ** 2 > 0.5).astype(int)
    model = clone(make_pipeline(transformer, LogisticRegression())).fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(model.predict_proba(X), again.predict_proba(X))
    assert (model.score(X, y) > 0.8) == isinstance(transformer, PiecewiseLinearEncoder)
    assert type(transformer).__module__ == "fastmlp.preprocessing"


def test_parameters_are_documented():
    for name in PiecewiseLinearEncoder().get_params():
        assert f"    {name} : " in PiecewiseLinearEncoder.__doc__


def test_categories_are_left_to_scikit_learn():
    """The encoder in the docstring of the package."""
    text = fastmlp.preprocessing.__doc__
    names = {"SmoothRobustScaler": SmoothRobustScaler}
    exec(textwrap.dedent(text.partition("::\n")[2]), names)
    rng = np.random.default_rng(0)
    n = 600
    X = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "colour": rng.choice(["red", "blue", None], n),
            "town": rng.choice([f"town {i}" for i in range(40)], n),
        }
    )
    X.loc[:2, "colour"] = "rare"
    y = X["town"].str.endswith("7").to_numpy() ^ (rng.random(n) < 0.1)
    trained = names["encoder"].fit_transform(X, y)
    assert names["few_levels"](X) == ["colour"]
    assert trained.shape == (n, 6)  # blue, red, missing, rare or not known; town; size
    new = X.iloc[:4].assign(colour=["red", "mauve", None, "rare"])
    new.loc[3, "town"] = "not known"
    found = names["encoder"].transform(new)
    np.testing.assert_array_equal(
        found[:, :4], [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    assert found[3, 4] == pytest.approx(y.mean())
    # The rows that were fitted are encoded by the means of other rows.
    assert not np.array_equal(trained[:, 4], names["encoder"].transform(X)[:, 4])
