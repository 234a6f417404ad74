"""A session: the buffers of one network, and the calls that train it, apply it and take its state.

Memory is safe wherever an exception lands. Threads know buffers by address alone, but a thread that
works for a call holds the call, which holds the buffers. And what a call has left half done is set
right before the session is used again, not in the handler of the exception: that one may itself be
interrupted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.kernels.epoch import EPOCH
from fastmlp.network import plan as plans
from fastmlp.network.layers import Update, prediction_program, training_program
from fastmlp.network.layout import Network, Parameters, aligned_zeros, layout_of, padded
from fastmlp.network.optimizer import Optimizer
from fastmlp.network.program import Bound
from fastmlp.runtime.call import Call
from fastmlp.runtime.pace import Pace
from fastmlp.runtime.tasks import stop
from fastmlp.runtime.team import available_threads

__all__ = ["Optimizer", "Session", "State"]


@dataclass
class State:
    """Where a training stands, as plain numbers.

    Attributes
    ----------
    step : int
        Number of updates made (Adam's t).
    parameters : ndarray of shape (n_parameters,)
        All weights, matrix by matrix and row by row, and then all biases (`Network.flatten`).
    moments : list of ndarray of shape (n_parameters,)
        Velocity, or Adam's first and second moment, in the same order.
    """

    step: int
    parameters: np.ndarray
    moments: list[np.ndarray]


@dataclass
class _Fed:
    """The rows that a session trains on."""

    rows: Rows
    targets: np.ndarray
    weight: np.ndarray | None
    exponent: int  # the weights have been divided by 2 to the power of it
    entries: np.ndarray | None  # of each row of a sparse X


@dataclass
class _Training:
    """The buffers of a minibatch, and the program that works in them."""

    plan: plans.Plan
    bound: Bound
    memory: dict[str, Any]
    pace: Pace
    batch_seconds: float


class Session:
    """Trains and applies one network; parameters, gradients and moments stay in its flat buffers.

    Parameters
    ----------
    network : Network
        Widths, activations and dtype.
    n_threads : int or None
        Most threads to use; None: `numba.get_num_threads()` of the calling thread.
    sparse : bool, default=False
        Whether X will be sparse. It can be either; a wrong guess costs a copy of the weights.
    """

    def __init__(
        self, network: Network, n_threads: int | None = None, *, sparse: bool = False
    ) -> None:
        self.network = network
        self._most_threads = available_threads(n_threads)
        self._layout = layout_of(network, sparse)
        self._parameters = aligned_zeros(self._layout.size, network.dtype)
        self._fed: _Fed | None = None
        self._training: _Training | None = None
        self._all_rows: _Training | None = None
        self._call: Call | None = None
        self._undo: list[np.ndarray] | None = None
        self._step = 0
        self._moments: list[np.ndarray] = []

    # -- what an exception has left ----------------------------------------------------------------
    def _settle(self) -> None:
        """Wait for what still runs, and undo what it has half done; can be interrupted itself."""
        call = self._call
        if call is None:
            self._undo = None  # of a call that an exception came before
            return
        if call.leave():
            # The call goes first: whoever is interrupted before it counts again, after it never.
            self._call, self._step, self._undo = None, self._step + call.counts, None
            return
        if self._undo is not None:
            for array, earlier in zip((self._parameters, *self._moments), self._undo, strict=True):
                array[...] = earlier
            self._stale = True
        self._call = self._undo = None

    # -- parameters and state ----------------------------------------------------------------------
    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Copy weights and biases in; ValueError where a shape is not the network's."""
        self._settle()
        self._layout.pack((coefs, intercepts), self._parameters)
        self._stale = True

    def get_parameters(self) -> Parameters:
        """Fresh copies of weights and biases."""
        self._settle()
        return self._layout.unpack(self._parameters)

    def state(self) -> State:
        """Where training stands: a copy."""
        self._settle()
        parameters, *moments = (
            self.network.flatten(self._layout.unpack(array))
            for array in (self._parameters, *self._moments)
        )
        return State(self._step, parameters, moments)

    def load(self, state: State) -> None:
        """Go on from a state of the same network and optimizer.

        Raises
        ------
        ValueError
            If it is another network's, or another optimizer's.
        """
        self._settle()
        if len(state.moments) != len(self._moments):
            raise ValueError("The optimizer's state is another optimizer's.")
        arrays = (state.parameters, *state.moments)
        if any(np.shape(array) != (self.network.n_parameters,) for array in arrays):
            raise ValueError(
                f"The state must have {self.network.n_parameters} numbers of each kind, as the "
                "network has parameters."
            )
        for array, buffer in zip(arrays, (self._parameters, *self._moments), strict=True):
            self._layout.pack(self.network.unflatten(np.asarray(array)), buffer)
        self._step, self._stale = state.step, True

    # -- training ----------------------------------------------------------------------------------
    def prepare(
        self,
        rows: Rows,
        targets: np.ndarray,
        sample_weight: np.ndarray | None,
        batch_size: int,
        *,
        alpha: float,
        optimizer: Optimizer,
    ) -> None:
        """Begin a training: moments are 0, and so is the number of updates.

        Parameters
        ----------
        rows : Rows
            X.
        targets : ndarray of shape (rows.n_samples,)
            0 or 1.
        sample_weight : ndarray of shape (rows.n_samples,) or None
            Weights of the rows.
        batch_size : int
            Rows of a minibatch.
        alpha : float
            Strength of the L2 term.
        optimizer : Optimizer
            Update and constants.
        """
        self._settle()
        self._check_rows(rows)
        self._lay_out(rows)
        self._optimizer, self._alpha = optimizer, float(alpha)
        self._batch_size = batch_size
        self._step = 0
        dtype, size = self.network.dtype, self._layout.size
        self._moments = [aligned_zeros(size, dtype) for _ in range(optimizer.n_moments)]
        self._copies = aligned_zeros(self._layout.size_of_copies, dtype)
        self._squares = np.zeros(sum(self._layout.stored_rows))
        self._stale = True
        self.feed(rows, targets, sample_weight)

    def feed(
        self, rows: Rows, targets: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> None:
        """Train on these rows from here on; weights, moments and step stay.

        Parameters
        ----------
        rows : Rows
            X, of the features that `prepare` was given.
        targets : ndarray of shape (rows.n_samples,)
            0 or 1.
        sample_weight : ndarray of shape (rows.n_samples,) or None
            Weights of the rows.
        """
        self._settle()
        self._check_rows(rows)
        self._lay_out(rows)
        for name, array in (("targets", targets), ("sample_weight", sample_weight)):
            if array is not None and np.shape(array) != (rows.n_samples,):
                raise ValueError(f"{name} must have shape ({rows.n_samples},).")
        exponent = 0
        if sample_weight is not None:
            # Weights and alpha times a power of two train the same network to the last bit. So the
            # largest weight is brought near 1: none overflows in float32, nor does 1 / Σ weights.
            exponent = int(np.frexp(sample_weight.max(initial=0.0))[1])
            with np.errstate(under="ignore"):
                sample_weight = np.ldexp(sample_weight.astype(np.float64, copy=False), -exponent)
        entries = None if rows.array is not None else np.diff(rows.csr[1])
        targets = np.require(targets, np.bool_, ("C", "A"))
        self._fed = _Fed(rows, targets, sample_weight, exponent, entries)
        self._training = self._all_rows = None
        self._batches: tuple[np.ndarray, ...] | None = None

    def _lay_out(self, rows: Rows) -> None:
        """Have weights and moments laid out for X of this kind."""
        sparse = rows.array is None
        if sparse == self._layout.sparse:
            return
        layout = layout_of(self.network, sparse)
        arrays = []
        for array in (self._parameters, *self._moments):
            arrays.append(aligned_zeros(layout.size, self.network.dtype))
            layout.pack(self._layout.unpack(array), arrays[-1])
        self._parameters, *self._moments = arrays
        self._layout, self._stale = layout, True
        self._training = self._all_rows = None  # they work in the old arrays
        if self._moments:
            self._copies = aligned_zeros(layout.size_of_copies, self.network.dtype)
            self._squares = np.zeros(sum(layout.stored_rows))

    def _data(self) -> _Fed:
        if self._fed is None:
            raise RuntimeError("prepare comes before training.")
        return self._fed

    def _check_rows(self, rows: Rows) -> None:
        if rows.n_features != self.network.widths[0]:
            raise ValueError(
                f"X has {rows.n_features} features, but the network expects "
                f"{self.network.widths[0]} features as input."
            )

    @np.errstate(under="ignore")
    def _scaled_alpha(self, data: _Fed) -> float:
        return float(np.ldexp(self._alpha, -data.exponent))

    def _bind(self, plan: plans.Plan, update: Update, gradients: np.ndarray | None) -> _Training:
        """Buffers and program of a minibatch."""
        data, dtype = self._data(), self.network.dtype
        rows = data.rows
        program, sizes = training_program(self._layout, rows.source, plan, update)
        arrays: dict[str, np.ndarray] = {
            "parameters": self._parameters,
            "moment_1": self._moments[0],
            "moment_2": self._moments[-1],
            "copies": self._copies,
            "squares": self._squares,
            "activations": aligned_zeros(sizes.activations, dtype),
            "deltas": aligned_zeros(sizes.deltas, dtype),
            "rooms": aligned_zeros(sizes.rooms, dtype),
            "blocks": aligned_zeros(sizes.blocks, dtype),
            "zeros": aligned_zeros(padded(max(self.network.widths)), dtype),
            "one": np.ones(1, dtype),
            **{
                name: aligned_zeros(sizes.rows, dtype)
                for name in ("logits", "target", "weight", "output_delta", "loss")
            },
            "targets": data.targets,
        }
        arrays["weight"][:] = 1  # stays, unless rows have weights
        if data.weight is not None:
            arrays["sample_weight"] = data.weight
        if gradients is not None:
            arrays["gradients"] = gradients
        if data.entries is not None:
            slots = padded(self.network.widths[0]) // 16 + plans.GRADIENT_ROWS // 16
            arrays["begins"], arrays["ends"] = np.zeros((2, slots), np.int64)
            arrays["entries"] = np.zeros((self._most_entries(plan.batch_size), 2), np.int64)
        bound = program.bind(
            {"sample_weight": 0, "gradients": 0, **_addresses(arrays), **rows.values_of_refs()}
        )
        work = 2 * plan.batch_size * self.network.multiply_adds
        memory = {**arrays, "words": bound.words, "x": rows.memory()}
        return _Training(
            plan, bound, memory,
            Pace(plan.n_threads, short=work < plans.SHORT_WORK), 1.5 * work / plans.SLOW,
        )  # fmt: skip

    def _most_entries(self, batch_size: int) -> int:
        """Entries of a sparse X in a minibatch at most, whatever the order of the rows."""
        entries = self._data().entries
        assert entries is not None
        if len(entries) > batch_size:
            entries = np.partition(entries, len(entries) - batch_size)[-batch_size:]
        return int(entries.sum())

    def _refresh(self) -> None:
        """Derive transposed copies and row norms from weights that were set from outside."""
        if not self._stale:
            return
        coefs, _ = self._layout.views(self._parameters)
        first = 0
        for matrix, copy in zip(coefs, self._layout.copies, strict=True):
            flat = matrix.reshape(len(matrix), -1)
            with np.errstate(all="ignore"):
                squares = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
            self._squares[first : first + len(flat)] = squares
            first += len(flat)
            if copy is not None:
                view = copy.view(self._copies)
                target = np.zeros((copy.rows, copy.panels * view.shape[2]), flat.dtype)
                target[:, : len(flat)] = flat.T[: copy.rows]
                view[...] = target.reshape(view.shape)
        self._stale = False

    def _minibatches(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First position, number of rows, and 1 / Σ weights (0: left out) of each minibatch."""
        if self._batches is not None and self._batches[0][-1] + self._batches[1][-1] == len(order):
            starts, sizes, scales = self._batches
        else:
            starts = np.arange(0, len(order), self._batch_size)
            sizes = np.diff(np.append(starts, len(order)))
            scales = 1.0 / sizes
            self._batches = starts, sizes, scales
        weight = self._data().weight
        if weight is not None:
            with np.errstate(under="ignore"):
                totals = np.add.reduceat(weight[order], starts, dtype=np.float64)
            scales = np.divide(1.0, totals, out=np.zeros(len(starts)), where=totals > 0)
        return starts, sizes, scales

    def train_epoch(self, order: np.ndarray, learning_rate: float) -> float:
        """One pass over the rows named by `order` in minibatches; returns the mean loss.

        Parameters
        ----------
        order : ndarray of int64
            Row numbers in the order of training; the last minibatch may be ragged.
        learning_rate : float
            Without Adam's bias correction, which is added here.

        Returns
        -------
        float
            Σ (loss of a minibatch · its rows) / rows, each at the weights before its update, the
            L2 term included. A minibatch whose weights are all 0 is left out and changes nothing.

        Notes
        -----
        An epoch is cut into slices of at most about 0.2 s, between which interrupts are served. A
        single minibatch that may take longer is left at an interrupt, and undone. So the weights
        are those of whole minibatches whenever the session is asked for them.
        """
        self._settle()
        data = self._data()
        order = _checked_order(order, data.rows)
        if order.size == 0:
            return 0.0
        self._lay_out(data.rows)
        alpha = self._scaled_alpha(data)
        if self._training is None:
            plan = plans.plan_training(self._layout, self._batch_size, self._most_threads)
            update = self._optimizer.update(self.network.dtype, alpha)
            self._training = self._bind(plan, update, None)
        training = self._training
        _, sizes, scales = self._minibatches(order)
        used = np.flatnonzero(scales)
        steps = np.maximum(self._step + np.cumsum(scales > 0), 1)
        rates = self._optimizer.rates(learning_rate, steps)
        self._refresh()
        losses = np.zeros((len(scales), 2))
        _set_epoch(training, order, rates, scales, losses)
        done = 0
        while done < len(used):
            threads, longest = training.pace.next_call()
            batches = used[done : done + longest]
            started = time.perf_counter()
            stoppable = len(batches) == 1 and training.batch_seconds > plans.LONG_SECONDS
            if stoppable:
                self._undo = [x.copy() for x in (self._parameters, *self._moments)]
            self._run(
                training, batches, threads, len(order), counts=len(batches), stoppable=stoppable
            )
            self._settle()
            seconds = time.perf_counter() - started
            training.batch_seconds = seconds / len(batches)
            training.pace.record(sizes[batches].sum() / self._batch_size, seconds)
            done += len(batches)
        # loss of a minibatch = (Σ weighted losses + ½ α ‖W‖²) / Σ weights
        with np.errstate(all="ignore"):
            totals = (losses[:, 0] + 0.5 * alpha * losses[:, 1]) * scales * sizes
            return float(totals.sum() / max(1, sizes[used].sum()))

    def _run(
        self, training: _Training, batches: np.ndarray, n_threads: int, n_rows: int, *,
        counts: int, stoppable: bool,
    ) -> None:  # fmt: skip
        """Run some minibatches, which count as so many updates; `_settle` comes after it."""
        bound = training.bound
        self._call = Call(
            training.memory, n_threads, units=bound.address("units"),
            segments=bound.address("segments"), steps=bound.address("steps"), batches=batches,
            n_units=bound.n_units, n_batches=len(batches), n_rows=n_rows,
            batch_size=training.plan.batch_size,
        )  # fmt: skip
        self._call.counts = counts
        self._call.run(stoppable=stoppable)

    def end_training(self) -> None:
        """Drop the buffers of minibatches and the rows; `prepare` comes before more training."""
        self._settle()
        self._fed = self._training = self._all_rows = self._batches = None
        self._copies = self._squares = np.empty(0)

    def loss_and_gradient(self) -> tuple[float, Parameters]:
        """Mean loss over all rows with its L2 term, and its gradient (for L-BFGS)."""
        self._settle()
        data, network = self._data(), self.network
        n, alpha = data.rows.n_samples, self._scaled_alpha(data)
        self._lay_out(data.rows)
        if self._all_rows is None:
            size = min(n, plans.FULL_GRADIENT_ROWS)
            plan = plans.plan_training(self._layout, size, self._most_threads, whole_gradient=True)
            self._gradients = aligned_zeros(self._layout.size, network.dtype)
            self._all_rows = self._bind(plan, Update(None), self._gradients)
        training = self._all_rows
        self._refresh()
        n_batches = -(-n // training.plan.batch_size)
        losses, ones = np.zeros((n_batches, 2)), np.ones(n_batches)
        _set_epoch(training, np.arange(n), ones, ones, losses)
        long = 3 * n * network.multiply_adds > plans.LONG_SECONDS * plans.SLOW
        batches, n_threads = np.arange(n_batches), training.plan.n_threads
        self._run(training, batches, n_threads, n, counts=0, stoppable=long)
        self._settle()
        with np.errstate(all="ignore"):
            total = n if data.weight is None else float(data.weight.sum())
            coefs, intercepts = self._layout.unpack(self._gradients)
            weights, _ = self._layout.unpack(self._parameters)
            coefs = [(g + alpha * w) / total for g, w in zip(coefs, weights, strict=True)]
            intercepts = [g / total for g in intercepts]
            loss = (losses[:, 0].sum() + 0.5 * alpha * losses[0, 1]) / total
        return float(loss), (coefs, intercepts)

    # -- inference ---------------------------------------------------------------------------------
    def logits(self, rows: Rows, order: np.ndarray | None = None) -> np.ndarray:
        """z⁽ᴸ⁾ of the rows, or of those that `order` names: shape (n,), of the network's dtype."""
        return self._predict(rows, order, probabilities=False)

    def probabilities(self, rows: Rows, order: np.ndarray | None = None) -> np.ndarray:
        """1 − ŷ and ŷ = σ(z⁽ᴸ⁾), neither ever 0: shape (n, 2), of the network's dtype."""
        return self._predict(rows, order, probabilities=True)

    def _predict(self, rows: Rows, order: np.ndarray | None, *, probabilities: bool) -> np.ndarray:
        self._settle()
        self._check_rows(rows)
        self._lay_out(rows)
        dtype = self.network.dtype
        n = rows.n_samples if order is None else len(order)
        result = np.empty((n, 2) if probabilities else n, dtype)
        if n == 0:
            return result
        block, n_blocks, n_threads = plans.plan_prediction(self.network, n, self._most_threads)
        program, size = prediction_program(
            self._layout, rows.source, block, n_threads, probabilities=probabilities
        )
        memory = {
            "parameters": self._parameters,
            "activations": aligned_zeros(size, dtype),
            "logits": aligned_zeros(n_threads * padded(block), dtype),
            "complement": aligned_zeros(n_threads * padded(block), dtype),
            "result": result,
        }
        bound = program.bind(
            {**_NOT_FOR_PREDICTIONS, **_addresses(memory), **rows.values_of_refs()}
        )
        epoch = bound.record("epoch", EPOCH)
        epoch["n_rows"], epoch["batch_size"], epoch["block_rows"] = n, block, block
        if order is not None:
            memory["order"] = order = _checked_order(order, rows)
            epoch["order"]["int64"] = order.ctypes.data
        call = Call(
            (memory, bound.words, rows.memory()), n_threads, units=bound.address("units"),
            segments=bound.address("segments"), steps=bound.address("steps"),
            batches=np.arange(n_blocks), n_units=1, n_batches=n_blocks, n_rows=n, batch_size=block,
            slots=n_threads,
        )  # fmt: skip
        work = n * self.network.multiply_adds
        try:
            call.run(stoppable=work > plans.LONG_SECONDS * plans.SLOW)
        finally:
            # Its threads, if any are left, hold what they write to, and nobody else does.
            stop(call.control)
        return result


_NOT_FOR_PREDICTIONS = {"deltas": 0, "entries": 0, "begins": 0, "ends": 0}


def _addresses(memory: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: array.ctypes.data for name, array in memory.items()}


def _set_epoch(
    training: _Training,
    order: np.ndarray,
    rates: np.ndarray,
    scales: np.ndarray,
    losses: np.ndarray,
) -> None:
    """Tell the pieces about the minibatches that come."""
    training.memory.update(order=order, rates=rates, scales=scales, losses=losses)
    epoch = training.bound.record("epoch", EPOCH)
    epoch["order"]["int64"] = order.ctypes.data
    epoch["n_rows"] = len(order)
    epoch["batch_size"] = training.plan.batch_size
    epoch["block_rows"] = training.plan.block_rows
    for name, array in (("rates", rates), ("scales", scales), ("losses", losses)):
        epoch[name]["float64"] = array.ctypes.data


def _checked_order(order: np.ndarray, rows: Rows) -> np.ndarray:
    """Row numbers as the kernels read them: none outside X, so that nothing is read there."""
    order = np.require(order, np.int64, ("C", "A", "E", "W"))
    if order.size and (order.min() < 0 or order.max() >= rows.n_samples):
        raise ValueError("order names rows that X does not have.")
    return order
