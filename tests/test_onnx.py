"""to_onnx, and pipelines that skl2onnx converts: what onnxruntime computes from the graph."""

import sys
from functools import partial

import numba
import numpy as np
import pytest
from data import quietly, two_classes
from naive import activate
from scipy import special
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastmlp.onnx
from fastmlp import Activation, MLPBinaryClassifier
from fastmlp.export.onnx import ACTIVATIONS, to_onnx

onnx = pytest.importorskip("onnx.reference") and sys.modules["onnx"]
ort = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")
types = pytest.importorskip("skl2onnx.common.data_types")
DoubleTensorType, FloatTensorType = types.DoubleTensorType, types.FloatTensorType
Int64TensorType, StringTensorType = types.Int64TensorType, types.StringTensorType

X, Y = two_classes(200)
LABELS = np.array(["no", "yes"])[Y]
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}
DTYPES = sorted(TOLERANCES)


def trained(hidden=(8, 5), y=Y, cls=MLPBinaryClassifier, **kwargs):
    settings = {"max_iter": 10, "learning_rate_init": 0.02, "random_state": 0, **kwargs}
    return quietly(cls(hidden, **settings).fit, X, y)


def run(graph, **inputs):
    """Outputs of a graph, by name."""
    onnx.checker.check_model(graph, full_check=True)
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def convert(model, inputs, **options):
    """A graph of a pipeline, without a ZipMap unless the options ask for one."""
    fastmlp.onnx.register_converter()
    options = {"zipmap": False, **options}
    return skl2onnx.convert_sklearn(model, initial_types=inputs, options=options)


# --- A model on its own ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (20,), (9, 4, 3)])
def test_probabilities_and_labels(dtype, activation, hidden):
    model = trained(hidden, activation=activation, dtype=dtype)
    found = run(model.to_onnx(), X=X.astype(dtype))
    expected = model.predict_proba(X)
    assert found["probabilities"].dtype == expected.dtype
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=TOLERANCES[dtype])
    sure = abs(expected[:, 1] - 0.5) > 1e-6
    np.testing.assert_array_equal(found["label"][sure], model.predict(X)[sure])


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_every_solver(solver):
    model = trained(solver=solver)
    found = run(model.to_onnx(), X=X)["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(X), rtol=0, atol=1e-12)


def test_both_probabilities_are_precise():
    """In onnx's own runtime: that of the sigmoid of onnxruntime ends at 1e-16 of 1."""
    model = trained(())
    model.coefs_[0][...] = 5.0
    rows = np.array([[-6.0] * 6, [6.0] * 6, [0.0] * 6])
    _, found = onnx.reference.ReferenceEvaluator(model.to_onnx()).run(None, {"X": rows})
    np.testing.assert_allclose(found, model.predict_proba(rows), rtol=1e-12)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([3, 7]), [3, 7]),
        (np.array([-1, 1], np.int8), [-1, 1]),
        (np.array([0, 200], np.uint8), [0, 200]),
        (np.array([False, True]), [0, 1]),
        (np.array(["no", "yes"]), ["no", "yes"]),
        (np.array(["naïve", "über"], object), ["naïve", "über"]),
    ],
    ids=["int64", "int8", "uint8", "bool", "str", "object"],
)
def test_labels(labels, expected):
    model = trained(y=labels[Y])
    found = run(model.to_onnx(), X=X)["label"]
    assert found.dtype == (np.int64 if isinstance(expected[0], int) else object)
    np.testing.assert_array_equal(
        found, np.array(expected)[np.searchsorted(labels, model.predict(X))]
    )


@pytest.mark.parametrize("label", [5, "only"])
def test_one_class(label):
    model = trained(y=np.full(200, label))
    found = run(model.to_onnx(), X=X)
    assert set(found["label"]) == {label}
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(X), rtol=0, atol=1e-12)


def test_names_and_shapes_are_those_of_scikit_learns_classifier():
    ours = trained().to_onnx()
    theirs = quietly(
        skl2onnx.convert_sklearn, trained(cls=MLPClassifier),
        initial_types=[("X", DoubleTensorType([None, 6]))], options={"zipmap": False},
    )  # fmt: skip
    for side in ("input", "output"):
        mine, other = getattr(ours.graph, side), getattr(theirs.graph, side)
        assert [str(each) for each in mine] == [str(each) for each in other]


def test_the_same_model_gives_the_same_graph():
    model = trained()
    assert model.to_onnx().SerializeToString() == model.to_onnx().SerializeToString()


def test_the_graph_says_which_version_wrote_it():
    graph = trained().to_onnx()
    assert {each.key: each.value for each in graph.metadata_props} == {
        "fastmlp": fastmlp.__version__
    }
    (opset,) = graph.opset_import
    assert opset.domain == ""
    assert opset.version <= 17


def test_a_subclass():
    class Own(MLPBinaryClassifier):
        def predict_proba(self, X):
            return super().predict_proba(X)[:, ::-1]

    found = run(trained(cls=Own).to_onnx(), X=X)["probabilities"]
    np.testing.assert_allclose(found, trained().predict_proba(X), rtol=0, atol=1e-12)


def test_feature_names_change_nothing():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    settings = {"max_iter": 10, "learning_rate_init": 0.02, "random_state": 0}
    model = quietly(MLPBinaryClassifier((8, 5), **settings).fit, frame, Y)
    assert model.to_onnx().SerializeToString() == trained().to_onnx().SerializeToString()


# --- Every activation -----------------------------------------------------------------------------


#: g in float64, each written in another way than in the graph.
FORMULAS = {
    **{name: partial(activate, name) for name in ("identity", "logistic", "tanh", "relu")},
    "leaky_relu": lambda z: np.where(z > 0, z, z / 100),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "selu": lambda z: 1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(z)),
    "gelu": lambda z: z * special.ndtr(z),
    "gelu_tanh": lambda z: z * special.expit(np.sqrt(8 / np.pi) * (z + 0.044715 * z**3)),
    "silu": lambda z: z * special.expit(z),
    "mish": lambda z: z * (1 - 2 / ((1 + np.exp(z)) ** 2 + 1)),
    "softplus": lambda z: np.logaddexp(0, z),
}


def test_there_is_a_formula_for_each():
    assert FORMULAS.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", FORMULAS)
def test_the_formulas_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    named = {"identity": lambda z: z, "logistic": torch.sigmoid, "tanh": torch.tanh}
    named["gelu_tanh"] = partial(torch.nn.functional.gelu, approximate="tanh")
    g = named.get(name) or getattr(torch.nn.functional, name)
    z = np.linspace(-12.0, 12.0, 481)
    np.testing.assert_allclose(FORMULAS[name](z), g(torch.from_numpy(z)), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name, dtype):
    """One unit a feature passes g(z) on; its logit is what the graph's probability says."""
    z = np.concatenate([np.linspace(-12.0, 12.0, 481), [-40.0, -1e-3, 1e-3, 30.0]])
    model = trained((1,), dtype=dtype)
    model.activation = name
    one, zero = np.ones((1, 1), dtype), np.zeros(1, dtype)
    model.coefs_, model.intercepts_, model.n_features_in_ = [one, one], [zero, zero], 1
    p = run(to_onnx(model), X=z[:, None].astype(dtype))["probabilities"].astype(float)
    expected = FORMULAS[name](z)
    # The logit, where a probability near 1 has digits enough left.
    inside = abs(expected) < 8
    logit = np.log(p[inside, 1]) - np.log(p[inside, 0])
    tolerance = {"float32": 1e-3, "float64": 1e-11}[dtype]
    np.testing.assert_allclose(logit, expected[inside], rtol=0, atol=tolerance)
    both = np.stack([1 / (1 + np.exp(expected)), 1 / (1 + np.exp(-expected))], axis=1)
    np.testing.assert_allclose(p, both, rtol=0, atol=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_activations_that_differ_from_layer_to_layer(dtype):
    names = ("gelu", "softplus", "tanh")
    model = trained((9, 4, 3), dtype=dtype)
    model.activation = list(names)
    a = X
    for layer, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        z = a @ coef.astype(float) + intercept
        a = FORMULAS[names[layer]](z) if layer < 3 else z
    found = run(to_onnx(model), X=X.astype(dtype))["probabilities"][:, 1]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-a[:, 0])), rtol=0, atol=TOLERANCES[dtype])


# --- Pipelines ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("float32", FloatTensorType), ("float64", DoubleTensorType)],
)
def test_a_scaler_and_a_network(dtype, kind):
    pipeline = make_pipeline(
        StandardScaler(), MLPBinaryClassifier((8,), max_iter=5, random_state=0)
    )
    quietly(pipeline.fit, 3 * X + 1, LABELS)
    rows = (3 * X + 1).astype(dtype)
    found = run(convert(pipeline, [("X", kind([None, 6]))]), X=rows)
    expected = pipeline.predict_proba(rows)
    np.testing.assert_allclose(found["probabilities"], expected, rtol=0, atol=TOLERANCES[dtype])
    np.testing.assert_array_equal(found["label"], pipeline.predict(rows))


def test_mixed_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:, :2].astype(np.float32), columns=["a", "b"])
    frame["town"] = np.array(["Oslo", "Rome"])[(X[:, 2] > 0).astype(int)]
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("names", OneHotEncoder(), ["town"])]
    )
    pipeline = make_pipeline(columns, MLPBinaryClassifier((8,), max_iter=5, random_state=0))
    quietly(pipeline.fit, frame, Y)
    one = [None, 1]
    inputs = [
        ("a", FloatTensorType(one)),
        ("b", FloatTensorType(one)),
        ("town", StringTensorType(one)),
    ]
    found = run(
        convert(pipeline, inputs),
        **{name: frame[[name]].to_numpy() for name in ("a", "b")},
        town=frame[["town"]].to_numpy(object),
    )
    np.testing.assert_allclose(
        found["probabilities"], pipeline.predict_proba(frame), rtol=0, atol=1e-6
    )
    np.testing.assert_array_equal(found["label"], pipeline.predict(frame))


def test_a_network_of_integers():
    rows = (10 * X).astype(np.int64)
    model = quietly(MLPBinaryClassifier((8,), max_iter=5, random_state=0).fit, rows, Y)
    found = run(convert(model, [("X", Int64TensorType([None, 6]))]), X=rows)
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize("labels", [Y, LABELS], ids=["int", "str"])
def test_zipmap_and_class_labels(labels):
    model, inputs = trained(y=labels), [("X", FloatTensorType([None, 6]))]
    rows, expected = X.astype(np.float32), trained(y=labels).predict_proba(X)
    found = run(convert(model, inputs, zipmap=True), X=rows)
    names = model.classes_.tolist()
    assert [*found["output_probability"][0]] == names
    of_last = [each[names[1]] for each in found["output_probability"]]
    np.testing.assert_allclose(of_last, expected[:, 1], rtol=0, atol=1e-6)
    found = run(convert(model, inputs, zipmap="columns"), X=rows)
    column = found[f"{'i' if labels is Y else 's'}{names[1]}"]
    np.testing.assert_allclose(column, expected[:, 1], rtol=0, atol=1e-6)
    found = run(convert(model, inputs, output_class_labels=True), X=rows)
    assert found["class_labels"].tolist() == names
    found = run(convert(model, inputs, nocl=True), X=rows)
    np.testing.assert_array_equal(found["label"], model.predict(X) == names[1])


def test_a_registered_subclass():
    class Own(MLPBinaryClassifier):
        """Its users register it themselves: skl2onnx knows no bases."""

    fastmlp.onnx.register_converter(Own)
    model = trained(cls=Own)
    found = run(convert(model, [("X", DoubleTensorType([None, 6]))]), X=X)["probabilities"]
    np.testing.assert_allclose(found, model.predict_proba(X), rtol=0, atol=1e-12)


# --- Errors ---------------------------------------------------------------------------------------


def test_not_fitted():
    with pytest.raises(NotFittedError):
        MLPBinaryClassifier().to_onnx()


@pytest.mark.parametrize(
    "labels",
    [
        np.array([0.0, 1.0]),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([0, 1], object),
        np.array([b"no", b"yes"]),
    ],
    ids=["float", "uint64", "object", "bytes"],
)
def test_labels_that_onnx_has_not(labels):
    model = trained()
    model.classes_ = labels
    with pytest.raises(ValueError, match="ONNX has integers and strings for labels"):
        model.to_onnx()


@numba.njit
def cube(z):
    return z * z * z


@numba.njit
def cube_slope(z):
    return 3.0 * z * z


CUBE = Activation(cube, cube_slope)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (CUBE, r"activation=Activation\(cube, cube_slope\) has no ONNX graph"),
        (["relu", CUBE], r"activation=Activation\(cube, cube_slope\) has no ONNX graph"),
        ("swish", "activation must be one of .*got 'swish'"),
        (["relu"], "activation must name one .* and names 1 for 2"),
    ],
)
def test_activations_that_have_no_graph(activation, message):
    model = trained()
    model.activation = activation
    with pytest.raises(ValueError, match=message):
        model.to_onnx()
    with pytest.raises(ValueError, match=message):
        convert(model, [("X", DoubleTensorType([None, 6]))])


def test_a_zipmap_of_one_class():
    model = trained(y=np.zeros(200, int))
    with pytest.raises(ValueError, match="one class and probabilities of two"):
        convert(model, [("X", FloatTensorType([None, 6]))], zipmap=True)


def test_weights_that_are_not_finite():
    model = trained()
    model.intercepts_[1][0] = np.nan
    with pytest.raises(ValueError, match=r"intercepts_\[1\] contains NaN"):
        model.to_onnx()


@pytest.mark.parametrize("cls", [None, MLPClassifier, MLPBinaryClassifier()])
def test_only_this_estimator_is_registered(cls):
    with pytest.raises(TypeError, match="cls must be MLPBinaryClassifier or a subclass"):
        fastmlp.onnx.register_converter(cls)


@pytest.mark.parametrize("call", [lambda: trained().to_onnx(), fastmlp.onnx.register_converter])
def test_a_package_that_is_missing(call, monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[onnx\]"'):
        call()
