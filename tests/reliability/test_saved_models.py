"""Saved models: versions, damage, and what loading runs (point 9)."""

import copy
import io
import pickle
import sys
import time

import joblib
import numpy as np
import pytest
from data import assert_same_parameters, quietly, two_classes

import fastmlp
from fastmlp import MLPBinaryClassifier
from fastmlp.estimators.attributes import FITTED

X, Y = two_classes()
LABELS = np.array(["no", "yes"])[Y]


def models():
    """Estimators in every state that there is to save."""
    settings = {"max_iter": 3, "random_state": 0, "batch_size": 20}
    yield MLPBinaryClassifier((4, 3), solver="sgd")
    yield MLPBinaryClassifier((4,), **settings).partial_fit(X, LABELS, classes=["no", "yes"])
    yield quietly(MLPBinaryClassifier((4,), early_stopping=True, **settings).fit, X, LABELS)
    yield quietly(MLPBinaryClassifier((), solver="lbfgs", **settings).fit, X, Y.astype(bool))
    model = MLPBinaryClassifier([4, 3], random_state=np.random.RandomState(3), max_iter=2)
    yield quietly(model.fit, X.astype(np.float32), np.array(["a", "b"], dtype=object)[Y])


MODELS = list(models())


@pytest.fixture(params=range(len(MODELS)))
def model(request):
    return copy.deepcopy(MODELS[request.param])


def by_pickle(model, protocol=pickle.HIGHEST_PROTOCOL):
    return pickle.loads(pickle.dumps(model, protocol))


def by_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file, compress=3)
    file.seek(0)
    return joblib.load(file)


def assert_the_same(loaded, model):
    assert vars(loaded).keys() == vars(model).keys()
    if hasattr(model, "coefs_"):
        assert_same_parameters(loaded, model)
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_all_protocols(model, protocol):
    assert_the_same(by_pickle(model, protocol), model)


@pytest.mark.parametrize("way", [by_joblib, copy.copy, copy.deepcopy])
def test_other_ways(model, way):
    assert_the_same(way(model), model)


def test_edited_weights_are_kept():
    model = copy.deepcopy(MODELS[1])
    model.coefs_[0][0, 0] = np.nan
    assert np.isnan(by_pickle(model).coefs_[0][0, 0])


# --- What changes its form while it is saved ------------------------------------------------------

# joblib.load turns every array to the machine's order of bytes.
OTHER_ORDER = ">" if sys.byteorder == "little" else "<"


@pytest.mark.parametrize("kind", ["i4", "u2", "f4", "f8"])
@pytest.mark.parametrize("way", [by_pickle, by_joblib])
def test_labels_of_the_other_byte_order(kind, way):
    labels = Y.astype(f"{OTHER_ORDER}{kind}")
    model = quietly(MLPBinaryClassifier((4,), max_iter=2, random_state=0).fit, X, labels)
    stepwise = MLPBinaryClassifier((4,), random_state=0)
    stepwise.partial_fit(X, labels, classes=np.unique(labels))
    for each in (model, stepwise):
        assert each.classes_.dtype == each.predict(X).dtype == np.dtype(kind)
        assert_the_same(way(each), each)
    assert way(stepwise).partial_fit(X, labels).t_ == 120


@pytest.mark.parametrize("kind", ["f4", "f8", "g"])
@pytest.mark.parametrize("way", [by_pickle, by_joblib, copy.deepcopy])
def test_weights_of_other_forms(kind, way):
    """Users may set them; the same network is loaded, in the dtype that it had."""
    model = copy.deepcopy(MODELS[1])
    dtype = np.dtype(kind).newbyteorder("S")
    model.coefs_ = [array.astype(dtype) for array in model.coefs_]
    model.intercepts_ = [array.astype(dtype) for array in model.intercepts_]
    loaded, expected = way(model), model.predict_proba(X)
    assert loaded.predict_proba(X).dtype == ("f4" if kind == "f4" else "f8")
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


class Forgetful(dict):
    """A cache: what it holds is not saved."""

    def __reduce__(self):
        return Forgetful, ()


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def containing_itself(value):
    value["me"] = [value]
    return value


def shared(depth):
    """A little tree of lists that looks like 2^depth of them."""
    value = []
    for _ in range(depth):
        value = [value, value]
    return value


def array_of_itself():
    array = np.empty(1, dtype=object)
    array[0] = [array]
    return array


PADDED = np.dtype([("flag", "?"), ("weight", f"{OTHER_ORDER}f8")], align=True)
ATTRIBUTES = {
    "numbers of the other byte order": lambda: np.arange(9, dtype=f"{OTHER_ORDER}i8"),
    "text of the other byte order": lambda: np.array(["a", "b"], dtype=f"{OTHER_ORDER}U3"),
    "records": lambda: np.zeros(3, dtype=[("a", f"{OTHER_ORDER}f4"), ("b", f"{OTHER_ORDER}i2")]),
    "records with gaps": lambda: np.empty(99, dtype=PADDED)[::3],
    "long floats": lambda: np.arange(9, dtype="g"),
    "dates": lambda: np.array(["2026-01-01"], dtype="M8[D]"),
    "strings of any length": lambda: np.array(["a", 99 * "b"], dtype=np.dtypes.StringDType()),
    "objects": lambda: np.array([None, "a", {1}], dtype=object),
    "masked": lambda: np.ma.masked_array([1.0, 2.0], mask=[True, False]),
    "no number": lambda: np.zeros((0, 3)),
    "one number": lambda: np.float32(1.5),
    "a set": lambda: set("fastmlp"),
    "a mapping": lambda: {2: "b", "a": 1, (3, None): 0.5, 10**5000: {}},
    "a large number": lambda: 10**5000,
    "a list in itself": lambda: containing_itself({}),
    "an array in itself": array_of_itself,
    "very deep": lambda: nested(300),
    "shared parts": lambda: shared(60),
    "a cache": lambda: Forgetful(a=1),
    "a class": lambda: Forgetful,
}


#: Before, deepcopy of an array of StringDType ends the process (numpy/numpy#28609).
COPIES_STRINGS = np.lib.NumpyVersion(np.__version__) >= "2.2.5"


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_of_the_user(name):
    """Whatever is kept on an estimator does not get in the way of saving it."""
    model = copy.deepcopy(MODELS[1])
    model.note = ATTRIBUTES[name]()
    for protocol in (2, pickle.HIGHEST_PROTOCOL):
        assert_the_same(by_pickle(model, protocol), model)
    if name != "very deep":  # for joblib itself and deepcopy
        assert_the_same(by_joblib(model), model)
        if COPIES_STRINGS or name != "strings of any length":
            assert_the_same(copy.deepcopy(model), model)
    assert type(by_pickle(model).note) is type(model.note)


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_parameters_of_any_kind(name):
    """No parameter is looked at before fit, so any may be saved until then."""
    model = MLPBinaryClassifier(ATTRIBUTES[name]())
    assert type(by_pickle(model).hidden_layer_sizes) is type(model.hidden_layer_sizes)


def test_an_estimator_that_holds_itself():
    model = copy.deepcopy(MODELS[1])
    model.me, model.parts = model, {"best": [model]}
    for loaded in (by_pickle(model), by_joblib(model), copy.deepcopy(model)):
        assert loaded.me is loaded.parts["best"][0] is loaded
        assert_the_same(loaded, model)


def test_tables_of_the_user():
    pd = pytest.importorskip("pandas")
    model = copy.deepcopy(MODELS[1])
    model.note = pd.DataFrame({"a": [1.0, None], "b": ["x", "y"]})
    model.coefs_ = [pd.DataFrame(array) for array in model.coefs_]
    for loaded in (by_pickle(model), by_joblib(model), copy.deepcopy(model)):
        assert vars(loaded).keys() == vars(model).keys()
        np.testing.assert_array_equal(loaded.predict_proba(X), MODELS[1].predict_proba(X))


class WithLogger(MLPBinaryClassifier):
    """Leaves out what cannot be saved, and makes it anew."""

    def fit(self, X, y):
        self.log = print
        self.threshold_ = 0.3
        return super().fit(X, y)

    def __getstate__(self):
        state = super().__getstate__()
        del state["log"]
        return {**state, "format": 2}

    def __setstate__(self, state):
        assert state.pop("format") == 2
        super().__setstate__({"added_later": None, **state})
        self.log = print


def test_a_subclass_may_save_less_and_more():
    model = quietly(WithLogger((4,), max_iter=2, random_state=0).fit, X, Y)
    for loaded in (by_pickle(model), by_joblib(model), copy.deepcopy(model)):
        assert vars(loaded).keys() == vars(model).keys() | {"added_later"}
        assert_same_parameters(loaded, model)
        assert (loaded.log, loaded.threshold_) == (print, 0.3)


def test_the_weights_of_a_subclass_are_checked_too():
    model = quietly(WithLogger((4,), max_iter=2, random_state=0).fit, X, Y)
    state = model.__getstate__()
    state["intercepts_"][0][0] += 1
    with pytest.raises(ValueError, match="checksum"):
        WithLogger().__setstate__(state)


def test_a_long_history_is_saved_and_checked_quickly():
    model = copy.deepcopy(MODELS[1])
    model.loss_curve_ = np.random.RandomState(0).rand(1_000_000).tolist()
    start = time.process_time()
    state = model.__getstate__()
    assert time.process_time() - start < 0.5
    state["loss_curve_"][500_000] += 1e-9
    with pytest.raises(ValueError, match="checksum"):
        load(state)


def test_a_copy_does_not_grow_with_its_original():
    model = copy.deepcopy(MODELS[1])
    state, shallow, deep = model.__getstate__(), copy.copy(model), copy.deepcopy(model)
    model.partial_fit(X, LABELS)
    assert len(model.loss_curve_) == 2
    for each in (state["loss_curve_"], shallow.loss_curve_, deep.loss_curve_):
        assert len(each) == 1
    load(state)


def test_the_attributes_that_are_checked_are_all_that_training_leaves():
    names = {*FITTED, *MLPBinaryClassifier().get_params()}
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    left = set(vars(quietly(MLPBinaryClassifier((4,), max_iter=2).fit, frame, Y)))
    assert left == names
    for model in MODELS:
        assert set(vars(model)) <= names


def test_memory_maps(tmp_path):
    joblib.dump(MODELS[1], tmp_path / "model")
    assert_the_same(joblib.load(tmp_path / "model", mmap_mode="r"), MODELS[1])


def changed(model, **attributes):
    """A state in which some entries are others; None takes one away."""
    state = {**model.__getstate__(), **attributes}
    gone = [name for name, value in attributes.items() if value is None]
    return {name: value for name, value in state.items() if name not in gone}


def sealed(state):
    """What an estimator with these attributes saves."""
    model = MLPBinaryClassifier()
    model.__dict__ = dict(state)
    return model.__getstate__()


def load(state):
    MLPBinaryClassifier().__setstate__(state)


@pytest.mark.parametrize("version", ["99.0.0", "0.99.0", "1.0"])
def test_a_newer_version_is_refused(model, version):
    with pytest.raises(ValueError, match=rf"fastmlp {version} saved .* upgrade fastmlp"):
        load(changed(model, _fastmlp_version=version))


def test_an_older_version_and_a_newer_patch_are_read(model):
    release = ".".join(fastmlp.__version__.split(".")[:2])
    for version in ("0.0.1", f"{release}.999"):
        load(changed(model, _fastmlp_version=version))


@pytest.mark.parametrize(
    "damage",
    [
        {"_fastmlp_version": None},
        {"_fastmlp_version": 7},
        {"_fastmlp_version": "?"},
        {"_checksum": None},
        {"_checksum": 1},
        {"alpha": 0.5},
        {"alpha": None},
        {"unknown": 1},
    ],
)
def test_a_state_that_is_not_what_was_saved_is_refused(model, damage):
    with pytest.raises(ValueError, match="damaged"):
        load(changed(model, **damage))


@pytest.mark.parametrize("state", [None, [], 3, {}, ({}, {})])
def test_something_else_is_refused(state):
    with pytest.raises(ValueError, match="damaged"):
        load(state)


def test_one_changed_weight_is_noticed():
    state = changed(MODELS[1])
    for name in ("coefs_", "intercepts_"):
        arrays = copy.deepcopy(state[name])
        arrays[0].view(np.uint8).flat[3] ^= 1
        with pytest.raises(ValueError, match="checksum"):
            load({**state, name: arrays})


def check_damaged_bytes(positions):
    """Whatever one bit does to a pickle: an error, or the model. Never another model."""
    model = MODELS[1]
    whole = pickle.dumps(model)
    expected = model.predict_proba(X).tobytes()
    refused = 0
    for position in positions(len(whole)):
        data = bytearray(whole)
        data[position] ^= 1 << position % 8
        if data[position] == ord("r"):
            continue  # read as an operation, it makes Python allocate gigabytes
        try:
            loaded = pickle.loads(bytes(data))
        except Exception:  # of many types, from the pickle module itself
            refused += 1
            continue
        if isinstance(loaded, MLPBinaryClassifier):
            assert loaded.predict_proba(X).tobytes() == expected
            assert repr(loaded) == repr(model)
    return refused, len(whole)


def test_damaged_bytes():
    refused, _ = check_damaged_bytes(lambda size: range(0, size, 11))
    assert refused > 20


# Some damage makes Python's own unpickler drop a bytearray that is in use, of which it complains.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.long
def test_every_damaged_byte():
    refused, size = check_damaged_bytes(range)
    assert refused > 0.8 * size


def test_truncated_pickles():
    whole = pickle.dumps(MODELS[2])
    for size in range(0, len(whole), 11):
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, AttributeError)):
            pickle.loads(whole[:size])


def test_loading_runs_nothing_of_the_users(model):
    """All that a pickle calls: this class, and what makes NumPy's arrays."""
    names = set()

    class Recorder(pickle.Unpickler):
        def find_class(self, module, name):
            names.add(f"{module}.{name}")
            return super().find_class(module, name)

    loaded = Recorder(io.BytesIO(pickle.dumps(model))).load()
    assert_the_same(loaded, model)
    allowed = {"fastmlp.MLPBinaryClassifier", "_codecs.encode"}
    assert all(name in allowed or name.startswith("numpy.") for name in names), names


def test_files_name_the_public_class(model):
    data = pickle.dumps(model, protocol=0)
    assert b"fastmlp\nMLPBinaryClassifier\n" in data
    assert b"estimators" not in data
    # Files of early version 0.1 name the module that it lies in.
    former = data.replace(
        b"fastmlp\nMLPBinaryClassifier\n", b"fastmlp.estimators.classifier\nMLPBinaryClassifier\n"
    )
    assert_the_same(pickle.loads(former), model)


def test_skops_needs_to_trust_the_class_alone(model):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(model)
    untrusted = set(skops.get_untrusted_types(data=data))
    assert untrusted <= {"fastmlp.MLPBinaryClassifier"}
    assert_the_same(skops.loads(data, trusted=sorted(untrusted)), model)


def test_training_goes_on_from_a_model_of_version_0_1():
    """Its moments were lists of matrices and lists of biases."""
    model = MODELS[1]
    state = copy.deepcopy(vars(model))
    shapes = state["_training_state"]["shapes"]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    moments = []
    for flat in state["_training_state"]["moments"]:
        assert flat.shape == (ends[-1],)
        parts = np.split(flat, ends[:-1])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        moments.append((arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]))
    state["_training_state"]["moments"] = moments
    old = copy.deepcopy(model)
    old.__setstate__(sealed(state))
    new = copy.deepcopy(model)
    for each in (old, new):
        quietly(each.partial_fit, X, LABELS)
    assert_same_parameters(old, new)
    for left, right in zip(
        old._training_state["moments"], new._training_state["moments"], strict=True
    ):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize(
    ("order", "total"),
    [("<", 3065630093), (">", 1368083415), ("turned by joblib", 1368083415)],
)
def test_a_checksum_of_early_version_0_1(order, total):
    """It was a number, over all attributes and the bytes of arrays as they lay."""
    attributes = {
        "alpha": 0.5,
        "hidden_layer_sizes": (3,),
        "classes_": np.array([0, 1], ">i4" if order == ">" else "<i4"),
        "coefs_": [np.arange(6.0).reshape(3, 2)],
        "n_iter_": 2,
        "note": {"b": 1, "a": None},
    }
    state = {**attributes, "_fastmlp_version": "0.1.0", "_checksum": total}
    load(state)
    for damage in ({"alpha": 0.25}, {"n_iter_": 3}, {"note": {}}, {"classes_": np.arange(2.0)}):
        with pytest.raises(ValueError, match="checksum"):
            load({**state, **damage})


#: States that another program could write, with a checksum that is right.
CRAFTED = {
    "too few rows": lambda s: s["coefs_"].__setitem__(0, s["coefs_"][0][:1]),
    "too many rows": lambda s: s["coefs_"].__setitem__(0, np.zeros((10**6, 4))),
    "no columns": lambda s: s["coefs_"].__setitem__(0, np.zeros((6, 0))),
    "another rank": lambda s: s["coefs_"].__setitem__(0, np.zeros((6, 4, 2))),
    "objects": lambda s: s["coefs_"].__setitem__(0, np.full((6, 4), None)),
    "strings": lambda s: s["coefs_"].__setitem__(0, np.full((6, 4), "1")),
    "complex": lambda s: s["coefs_"].__setitem__(0, np.full((6, 4), 1j)),
    "a bias too long": lambda s: s["intercepts_"].__setitem__(0, np.zeros(9)),
    "a bias too many": lambda s: s["intercepts_"].append(np.zeros(1)),
    "no weights": lambda s: s.update(coefs_=[], intercepts_=[]),
    "not a list": lambda s: s.update(coefs_=7),
    "other features": lambda s: s.update(n_features_in_=3),
    "features as text": lambda s: s.update(n_features_in_="6"),
    "activation": lambda s: s.update(activation="sine"),
    "threads": lambda s: s.update(n_threads=-3),
    "moments": lambda s: s["_training_state"]["moments"].__setitem__(0, np.zeros((1, 1))),
    "moments too short": lambda s: s["_training_state"]["moments"].__setitem__(0, np.zeros(1)),
    "moments of objects": lambda s: s["_training_state"].update(moments=[np.full(33, None)] * 2),
    "moments of version 0.1": lambda s: s["_training_state"].update(
        moments=[([np.zeros((1, 1))], [np.zeros(1)])] * 2
    ),
    "moments missing": lambda s: s["_training_state"].update(moments=[]),
    "step": lambda s: s["_training_state"].update(step=-1),
    "shapes": lambda s: s["_training_state"].update(shapes=[(1, 1)]),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_state_ends_in_an_error_at_worst(name):
    """No kernel trusts what a file says: shapes are checked before each use."""
    model = copy.deepcopy(MODELS[1])
    state = copy.deepcopy(vars(model))
    CRAFTED[name](state)
    model.__setstate__(sealed(state))
    for use in (lambda: model.predict_proba(X), lambda: model.partial_fit(X, LABELS)):
        try:
            quietly(use)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
