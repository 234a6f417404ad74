"""to_onnx of the estimator for tables: what onnxruntime computes from the graph."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from tables import random_parameters

import fastmlp
from fastmlp import TabularMLPBinaryClassifier
from fastmlp.training.table import TableModel

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

NAN = np.nan


def table(n=200, seed=0):
    """Columns of every kind that an encoding knows, in no order, and gaps."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({
        "größe": rng.choice([*"ÄBCDE", "rare"], n, p=[0.4, 0.2, 0.2, 0.1, 0.09, 0.01]),
        "pair": rng.choice(["left", "right"], n),
        "a number": rng.normal(40, 12, n),
        "far": 1e9 + 1e-3 * rng.normal(size=n),  # one value in float32
        "spike": np.where(rng.random(n) < 0.7, 0.0, rng.standard_cauchy(n)),
        "two": rng.choice([3.0, 7.0], n),
        "flag": rng.random(n) < 0.3,
        "one": 7.0,
        "one and gaps": np.where(rng.random(n) < 0.5, 7.0, NAN),
        "empty": NAN,
        "blank": rng.choice(["", "x", "y"], n),
        "constant": "text",
        "code": rng.choice([2.0, -7.0, 1e15, 3.5, 2.5], n),
        "grade": rng.choice([1.0, 2.0], n),
    })  # fmt: skip
    for name in ("a number", "spike", "größe", "code"):
        X.loc[rng.random(n) < 0.15, name] = NAN if X[name].dtype.kind == "f" else None
    return X.astype({"code": "category", "grade": "category"})


def new_rows(n=300, seed=1):
    """Rows with gaps anywhere, values beyond all edges and on them, and levels never seen."""
    rng = np.random.default_rng(seed)
    X = table(n, seed).astype({"code": float, "grade": float, "flag": float})
    for name in X:
        if X[name].dtype.kind == "f":
            X.loc[rng.random(n) < 0.1, name] = rng.choice([-1e9, -1.0, 2.25, 1e18])
            X.loc[rng.random(n) < 0.2, name] = NAN
        else:
            X.loc[rng.random(n) < 0.2, name] = rng.choice(["Ω", "never seen"])
            if name != "blank":
                X.loc[rng.random(n) < 0.2, name] = None
    X.loc[:49, "a number"] = table()["a number"][:50]
    return X


X, NEW = table(), new_rows()
Y = np.random.default_rng(2).integers(0, 2, 200)
LABELS = np.array(["no", "yes"])[Y]
SMALL = {"n_folds": 2, "max_iter": 3, "random_state": 0, "n_threads": 1}
OTHER_KINDS = {
    "numbers": ["a number", "far", "spike"],
    "categories": ["größe", "blank", "code"],
    "plain": ["two", "flag"],
    "pairs": ["pair", "grade"],
    "gaps": ["one and gaps"],
}


def fitted(X=X, y=LABELS, **kwargs):
    return TabularMLPBinaryClassifier(**{**SMALL, **kwargs}).fit(X, y)


@pytest.fixture(scope="module")
def model():
    return fitted()


def with_weights(model, seed):
    """The same with random weights, which no few epochs would give it."""
    rng = np.random.default_rng(seed)
    copy = pickle.loads(pickle.dumps(model))
    copy._models = [
        TableModel(each.encoding, each.hidden, random_weights(each.network, rng))
        for each in model._models
    ]
    return copy


def random_weights(network, rng):
    parameters = random_parameters(network, rng)
    return tuple([array.astype(np.float32) for array in arrays] for arrays in parameters)


def inputs_of(graph, X):
    """The columns of a frame as the inputs of a graph."""
    inputs = {}
    for each in graph.graph.input:
        column = X[[each.name]]
        if each.type.tensor_type.elem_type == onnx.TensorProto.STRING:
            inputs[each.name] = column.astype(object).where(column.notna(), "").to_numpy(object)
        else:
            inputs[each.name] = column.to_numpy(np.float64)
    return inputs


def run(graph, X):
    """Labels and probabilities of a graph for the rows of a frame."""
    onnx.checker.check_model(graph, full_check=True)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["label", "probabilities"]
    return session.run(None, inputs_of(graph, X))


def check(model, X):
    """The graph of a model agrees with the model."""
    labels, found = run(model.to_onnx(), X)
    expected = model.predict_proba(X)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    sure = abs(expected[:, -1] - 0.5) > 1e-6
    np.testing.assert_array_equal(labels[sure], model.predict(X)[sure])


# --- What it computes -----------------------------------------------------------------------------


def test_the_table_has_every_kind_of_column(model):
    kinds = {kind for each in model._models for kind in each.encoding.columns.columns["kind"]}
    assert kinds == {0, 1, 2, 3}
    found = model.columns_
    assert found["code"].startswith("category: ")
    assert found["one and gaps"] == "category: 1 levels and all others, 8 outputs"
    assert (
        found["one"] == found["empty"] == found["constant"] == "nothing: it says nothing about rows"
    )


def test_a_trained_model(model):
    check(model, X)
    check(model, NEW)


@pytest.mark.parametrize("seed", range(4))
def test_any_weights(model, seed):
    check(with_weights(model, seed), NEW)


@pytest.mark.parametrize("columns", OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_columns_of_one_kind(columns):
    check(with_weights(fitted(X[columns]), seed=0), NEW[columns])


@pytest.mark.parametrize("column", list(X))
def test_one_column(column):
    model = fitted(X[[column]])
    check(with_weights(model, seed=0), NEW[[column]])


def test_edges_are_of_float64():
    """Numbers next to an edge, on either side: the shares of bins that are very narrow."""
    x = np.repeat(1e6 + np.arange(20) * 2.0**-30, 10)
    model = with_weights(fitted(pd.DataFrame({"x": x}), x > x.mean()), seed=0)
    edges = model._models[0].encoding.columns.edges
    rows = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, np.inf), x])
    frame = pd.DataFrame({"x": rows})
    check(model, frame)
    assert len(np.unique(model.predict_proba(frame)[:, 1].round(4))) > 5


@pytest.mark.parametrize("n_levels", [3, 8, 9, 40])
def test_levels_that_are_numbers(n_levels):
    rng = np.random.default_rng(n_levels)
    levels = np.r_[rng.normal(size=n_levels - 2), 2.0**53, 0.1]
    frame = pd.DataFrame({"level": rng.choice(levels, 400)}, dtype="category")
    model = with_weights(fitted(frame, rng.integers(0, 2, 400)), seed=0)
    near = np.r_[levels, np.nextafter(levels, 9), np.nextafter(levels, -9), NAN, 1e300, -1e300, 0]
    check(model, pd.DataFrame({"level": near}))


def test_a_level_that_is_a_number_and_gaps():
    frame = pd.DataFrame({"level": [3.0, NAN] * 100}, dtype="category")
    model = with_weights(fitted(frame), seed=0)
    check(model, pd.DataFrame({"level": [3.0, NAN, 4.0, -1e300]}))


def test_numbers_that_are_huge():
    frame = X[["a number", "two"]]
    model = with_weights(fitted(frame), seed=0)
    rows = pd.DataFrame({"a number": [7e307, -7e307, 1e-320, -0.0], "two": [-7e307, 7e307, 3, 7]})
    check(model, rows)


def test_levels_that_a_network_has_not_seen():
    """They are the last ones, so it has codes for fewer levels than the table; gaps have a row."""
    last = ["x", "y", "z"]
    frame = pd.DataFrame({"level": [*"abc", None] * 49 + ["w", *last], "two": X["two"]})
    model = fitted(frame[:190], LABELS[:190])
    model._reader = fitted(frame)._reader  # as if folds had left out the last rows
    model = with_weights(model, seed=0)
    check(model, pd.DataFrame({"level": ["a", "c", "w", *last, "new", None], "two": 3.0}))


def test_many_levels_of_text():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"level": [f"level {i}" for i in rng.integers(0, 300, 2000)]})
    model = with_weights(fitted(frame, rng.integers(0, 2, 2000)), seed=0)
    check(model, frame)


# --- Inputs and outputs ---------------------------------------------------------------------------


def test_inputs_are_columns(model):
    graph = model.to_onnx().graph
    assert [each.name for each in graph.input] == list(X)
    text = {"größe", "pair", "blank", "constant"}
    for each in graph.input:
        kind = each.type.tensor_type
        string, double = onnx.TensorProto.STRING, onnx.TensorProto.DOUBLE
        assert kind.elem_type == (string if each.name in text else double)
        assert [d.dim_value for d in kind.shape.dim][1:] == [1]
        assert not kind.shape.dim[0].HasField("dim_value")


def test_columns_without_names():
    numbers = X[["a number", "spike", "flag"]].to_numpy(np.float64)
    for rows in (numbers, numbers.astype(np.float32)):
        model = with_weights(fitted(rows), seed=0)
        graph = model.to_onnx()
        _, found = run(graph, pd.DataFrame(rows, columns=["x0", "x1", "x2"]))
        np.testing.assert_allclose(found, model.predict_proba(rows), rtol=0, atol=1e-6)


def test_names_that_nodes_have_too():
    names = ["constant", "concat", "label1", "Gather", "a/b:0 ", "X", "variable"]
    frame = X[list(X)[2:9]].set_axis(names, axis=1)
    model = fitted(frame)
    assert [each.name for each in model.to_onnx().graph.input] == names
    check(model, NEW[list(X)[2:9]].set_axis(names, axis=1))


def test_an_empty_string(model):
    """It is a level where fit has seen it, and a gap elsewhere."""
    frame = X[["blank", "größe"]]
    model = with_weights(fitted(frame), seed=0)
    rows = pd.DataFrame({"blank": [""], "größe": [""]})
    _, found = run(model.to_onnx(), rows)
    expected = model.predict_proba(rows.assign(größe=None))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    assert abs(expected - model.predict_proba(rows.assign(blank=None, größe=None))).max() > 1e-3


def test_one_row(model):
    for row in range(20):
        check(model, NEW[row : row + 1])


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([3, 7], np.int8), [3, 7]),
        (np.array([False, True]), [0, 1]),
        (np.array(["naïve", "über"], object), ["naïve", "über"]),
    ],
    ids=["int8", "bool", "object"],
)
def test_labels(labels, expected):
    model = fitted(y=labels[Y])
    found, _ = run(model.to_onnx(), X)
    assert found.dtype == (np.int64 if isinstance(expected[0], int) else object)
    of_model = np.searchsorted(labels, model.predict(X))
    np.testing.assert_array_equal(found, np.array(expected)[of_model])


@pytest.mark.parametrize("columns", [list(X), list(X)[::-1], ["blank"]])
@pytest.mark.parametrize("label", [5, "only"])
def test_one_class(columns, label):
    check(fitted(X[columns], np.full(200, label)), NEW[columns])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_no_networks(share):
    columns = ["one", "constant", "empty"]
    model = fitted(X[columns], np.arange(200) < share * 200)
    assert not model._models
    check(model, NEW[columns])


def test_the_same_model_gives_the_same_graph(model):
    graph = model.to_onnx().SerializeToString()
    assert graph == model.to_onnx().SerializeToString()
    assert graph == pickle.loads(pickle.dumps(model)).to_onnx().SerializeToString()


def test_what_the_graph_asks_for(model):
    graph = model.to_onnx()
    assert {each.key: each.value for each in graph.metadata_props} == {
        "fastmlp": fastmlp.__version__
    }
    versions = {each.domain: each.version for each in graph.opset_import}
    assert versions.keys() == {"", "ai.onnx.ml"}
    assert versions[""] <= 17
    assert versions["ai.onnx.ml"] <= 3
    assert graph.ir_version <= 8


def test_the_graph_has_as_many_nodes_as_kinds_not_columns():
    few, many = (
        fitted(pd.DataFrame(np.random.default_rng(0).normal(size=(200, n)))) for n in (2, 30)
    )
    assert len(few.to_onnx().graph.node) == len(many.to_onnx().graph.node)


# --- Errors ---------------------------------------------------------------------------------------


def test_not_fitted():
    with pytest.raises(NotFittedError):
        TabularMLPBinaryClassifier().to_onnx()


@pytest.mark.parametrize("name", ["label", "probabilities", ""])
def test_names_that_no_input_can_have(name):
    model = fitted(X[["a number"]].set_axis([name], axis=1))
    with pytest.raises(ValueError, match=f"A column is named {name!r}"):
        model.to_onnx()


@pytest.mark.parametrize(
    ("levels", "match"),
    [
        (["a", 1], "'x0' has levels of text and levels that are numbers"),
        ([2**53 + 1, 3], f"'x0' has the level {2**53 + 1}"),
        ([10**400, 3], "'x0' has the level 1000"),
        (["\ud800", "a"], r"'x0' has the level '\\ud800'"),
    ],
    ids=["mixed", "integer", "huge", "surrogate"],
)
def test_levels_that_onnx_has_not(levels, match):
    rows = np.array([levels * 100, X["two"]], object).T
    model = fitted(rows, categorical_features=[0])
    with pytest.raises(ValueError, match=match):
        model.to_onnx()


def test_labels_that_onnx_has_not():
    model = fitted(y=Y * 1.0)
    with pytest.raises(ValueError, match="ONNX has integers and strings for labels"):
        model.to_onnx()


def test_a_package_that_is_missing(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[onnx\]"'):
        model.to_onnx()
