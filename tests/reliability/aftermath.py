"""Calls that are left in the middle, and all that may have become of an estimator then."""

import _thread
import copy
import time
from contextlib import contextmanager
from unittest import mock

import numba
import numpy as np
import scipy.sparse
from data import quietly, two_classes
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import WarningsFixer

from fastmlp import MLPBinaryClassifier, streaming
from fastmlp.network.session import Session
from fastmlp.runtime import team

_SETTINGS = {"hidden_layer_sizes": (5, 4), "batch_size": 20, "max_iter": 2, "random_state": 0}
#: For windows of less than all rows.
_MEMORY = 4000
_CATCH_WARNINGS = WarningsFixer.catch_warnings


def _bits(*arrays):
    return b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)


def _weights(model):
    return _bits(*model.coefs_, *model.intercepts_)


class Case:
    """A call of an estimator, and what it may leave behind when it ends early.

    Parameters
    ----------
    call : "fit", "warm", "partial_fit", "predict_proba", "stream" or "stream again"
        "fit" and "stream" are those of an estimator which has not been fitted; the others have.
        Rows are streamed in windows, by way of a scratch file or from the source again and again.
    sparse : bool
        Whether X is.
    shape : tuple
        Of X.
    dtype : dtype
        Of X.
    settings
        Of the estimator.
    """

    def __init__(self, call, *, sparse=False, shape=(60, 6), dtype=np.float64, **settings):
        X, self._y = two_classes(*shape, dtype=dtype)
        self._X = scipy.sparse.csr_array(X) if sparse else X
        self._call = call
        self._prepared = MLPBinaryClassifier(**{**_SETTINGS, **settings})
        if not call.startswith(("fit", "stream")):
            quietly(self._prepared.fit, self._X, 1 - self._y)
            self._prepared.set_params(warm_start=call == "warm")
        #: Weights that L-BFGS has looked at; weights, steps and moments after every minibatch;
        #: weights at the beginning and after every epoch.
        self._looked_at, self._whole, self._at_ends = set(), set(), []
        with self._noting():
            self.expected = self.run(self.model())
        started = time.perf_counter()
        assert self.run(self.model()) == self.expected
        self.seconds = time.perf_counter() - started

    def model(self):
        """An estimator as it is before the call."""
        return copy.deepcopy(self._prepared)

    def run(self, model):
        """Make the call, on an X that is gone after it; returns the bits that come of it."""
        if self._call == "predict_proba":
            return self.predict(model)
        if self._call.startswith("stream"):
            quietly(streaming.fit, model, self._chunks, target=None, memory=_MEMORY,
                    scratch=False if self._call == "stream again" else None)  # fmt: skip
            return _weights(model)
        X = self._X.copy()
        quietly(model.partial_fit if self._call == "partial_fit" else model.fit, X, self._y)
        return _weights(model)

    def _chunks(self):
        for first in range(0, len(self._y), 7):
            yield self._X[first : first + 7].copy(), self._y[first : first + 7]

    def predict(self, model):
        """The bits of probabilities."""
        return _bits(model.predict_proba(self._X.copy()))

    @contextmanager
    def _noting(self):
        """Note all that a call may leave behind."""
        train_epoch, set_parameters = Session.train_epoch, Session.set_parameters

        def note(session):
            state = session.state()
            coefs, intercepts = session.get_parameters()
            weights = _bits(*coefs, *intercepts)
            self._whole.add((weights, state.step, _bits(*state.moments)))
            return weights

        def set_and_note(session, *parameters):
            set_parameters(session, *parameters)
            self._looked_at.add(_bits(session.state().parameters))

        def train_step_by_step(session, order, rate):
            start = session.state()
            begun = note(session)
            if not self._at_ends:
                self._at_ends.append(begun)
            size = self._prepared.batch_size
            for rows in range(size, len(order), size):
                train_epoch(session, order[:rows], rate)
                note(session)
                session.load(start)
            loss = train_epoch(session, order, rate)
            self._at_ends.append(note(session))
            return loss

        with (
            mock.patch.object(Session, "train_epoch", train_step_by_step),
            mock.patch.object(Session, "set_parameters", set_and_note),
        ):
            yield

    def check(self, model, before, error):
        """Assert that the model is as it was or whole, and the process in order.

        model : on which `run` ended with the error, or None; before : its attributes before
        """
        if self._call == "predict_proba" or error is not None:
            if self.is_unchanged(model, before):
                return
            assert self._call != "predict_proba"
        self._check_attributes(vars(model))

    def check_again(self, model, before):
        """Assert that the next calls are right; the model has passed `check`."""
        if self._call == "fit" or self.is_unchanged(model, before):
            assert self.run(model) == self.expected
        else:
            self.run(model)
            assert all(np.isfinite(array).all() for array in (*model.coefs_, *model.intercepts_))
        assert self.run(self.model()) == self.expected

    @staticmethod
    def is_unchanged(model, before):
        """Whether a model has the attributes that it had: the same objects."""
        now = vars(model)
        return now.keys() == before.keys() and all(now[name] is before[name] for name in now)

    def _check_attributes(self, fitted):
        """Of a call that has ended, early or not: they are those of whole minibatches."""
        weights = _bits(*fitted["coefs_"], *fitted["intercepts_"])
        curve, n_iter = fitted.get("loss_curve_"), fitted["n_iter_"]
        if curve is None:
            assert weights in self._looked_at
            assert np.isnan(fitted["loss_"]) == (n_iter == 0)
            return
        state, scores = fitted["_training_state"], fitted["validation_scores_"]
        step, moments = state["step"], _bits(*state["moments"])
        if scores is None:
            assert (weights, step, moments) in self._whole
        else:
            assert (step, moments) in {whole[1:] for whole in self._whole}
            best = np.argmax(scores) + 1 if scores else 0
            assert weights == self._at_ends[best]
            assert fitted["best_validation_score_"] == max(scores, default=-np.inf)
        if self._call == "fit":
            assert len(curve) == n_iter
            assert fitted["loss_"] == curve[-1] if curve else np.isnan(fitted["loss_"])
            rows = len(self._y) if scores is None else len(self._y) - round(0.1 * len(self._y))
            assert fitted["t_"] == n_iter * rows


def check_process():
    """Assert that nothing of an earlier call is left: no lock, no thread, no setting."""
    deadline = time.monotonic() + 30
    while _thread._count() > 0:
        assert time.monotonic() < deadline, "a thread is left"
        time.sleep(0.001)
    assert not team._one_at_a_time.locked()
    assert not global_compiler_lock.is_locked()
    assert global_compiler_lock._lock.acquire(timeout=30)
    global_compiler_lock._lock.release()
    assert WarningsFixer.catch_warnings is _CATCH_WARNINGS
    assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
