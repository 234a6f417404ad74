"""A session: the numbers of one network, and the calls that train it, apply it and take its state.

Memory is safe wherever an exception lands. Threads know buffers by address alone, but a thread that
works for a call holds the call, which holds the buffers. And what a call has left half done is set
right before the session is used again, not in the handler of the exception: that one may itself be
interrupted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.network import plan as plans
from fastmlp.network.layers import Update
from fastmlp.network.layout import Network, Parameters, aligned_zeros, layout_of
from fastmlp.network.minibatches import (
    Batches,
    Data,
    Minibatches,
    checked_order,
    data_of,
    minibatches,
)
from fastmlp.network.optimizer import Optimizer
from fastmlp.network.prediction import predict
from fastmlp.runtime.call import Call
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
        self._moments: list[np.ndarray] = []
        # Derived from the weights; stale where these were set from outside.
        self._copies = self._squares = np.empty(0)
        self._stale = True
        self._gradients = np.empty(0)
        self._optimizer, self._alpha, self._batch_size = Optimizer(), 0.0, 1
        self._step = 0
        self._data: Data | None = None
        # In which the session trains, and takes the gradient over all rows.
        self._training: Minibatches | None = None
        self._whole: Minibatches | None = None
        # A call under way, and the numbers before it, where it can be left in the middle.
        self._call: Call | None = None
        self._undo: list[np.ndarray] | None = None

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

    # -- rows --------------------------------------------------------------------------------------
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
        rows, targets, sample_weight
            As `feed` takes them.
        batch_size : int
            Rows of a minibatch.
        alpha : float
            Strength of the L2 term.
        optimizer : Optimizer
            Update and constants.
        """
        self._settle()
        self._lay_out(rows)
        self._optimizer, self._alpha, self._batch_size = optimizer, float(alpha), batch_size
        size, dtype = self._layout.size, self.network.dtype
        self._moments = [aligned_zeros(size, dtype) for _ in range(optimizer.n_moments)]
        self._step = 0
        self._make_room_for_derived()
        self.feed(rows, targets, sample_weight)

    def feed(
        self, rows: Rows, targets: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> None:
        """Train on these rows from here on; weights, moments and step stay.

        Parameters
        ----------
        rows : Rows
            X, of the features that the network has.
        targets : ndarray of shape (rows.n_samples,)
            0 or 1.
        sample_weight : ndarray of shape (rows.n_samples,), or None
            Weights of the rows.

        Raises
        ------
        ValueError
            If X has other features, or the lengths differ.
        """
        self._settle()
        self._lay_out(rows)
        self._data = data_of(rows, targets, sample_weight)
        self._training = self._whole = None

    def end_training(self) -> None:
        """Drop the buffers of minibatches and the rows; `prepare` comes before more training."""
        self._settle()
        self._data = self._training = self._whole = None
        self._copies = self._squares = np.empty(0)

    def _lay_out(self, rows: Rows) -> None:
        """Have weights and moments laid out for X of this kind; ValueError for other features."""
        if rows.n_features != self.network.widths[0]:
            raise ValueError(
                f"X has {rows.n_features} features, but the network expects "
                f"{self.network.widths[0]} features as input."
            )
        sparse = rows.array is None
        if sparse == self._layout.sparse:
            return
        layout = layout_of(self.network, sparse)
        arrays = [aligned_zeros(layout.size, self.network.dtype) for _ in (0, *self._moments)]
        for array, earlier in zip(arrays, (self._parameters, *self._moments), strict=True):
            layout.pack(self._layout.unpack(earlier), array)
        self._parameters, *self._moments = arrays
        self._layout = layout
        self._training = self._whole = None  # they work in the old arrays
        self._make_room_for_derived()

    def _make_room_for_derived(self) -> None:
        """Have room for the transposed copies and row norms of the weights."""
        self._copies = aligned_zeros(self._layout.size_of_copies, self.network.dtype)
        self._squares = np.zeros(sum(self._layout.stored_rows))
        self._stale = True

    def _refresh(self) -> None:
        """Derive transposed copies and row norms from weights that were set from outside."""
        if not self._stale:
            return
        coefs, _ = self._layout.views(self._parameters)
        first = 0
        for matrix, copy in zip(coefs, self._layout.copies, strict=True):
            flat = matrix.reshape(len(matrix), -1)
            squares = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
            self._squares[first : first + len(flat)] = squares
            first += len(flat)
            if copy is not None:
                view = copy.view(self._copies)
                target = np.zeros((copy.rows, copy.panels * view.shape[2]), flat.dtype)
                target[:, : len(flat)] = flat.T[: copy.rows]
                view[...] = target.reshape(view.shape)
        self._stale = False

    def _bound(self, plan: plans.Plan, update: Update, **more: np.ndarray) -> Minibatches:
        """Minibatches that work in this session's numbers."""
        numbers = {
            "parameters": self._parameters, "copies": self._copies, "squares": self._squares,
            "moment_1": self._moments[0], "moment_2": self._moments[-1],
        }  # fmt: skip
        return minibatches(self._layout, self._fed(), plan, update, {**numbers, **more})

    def _fed(self) -> Data:
        if self._data is None:
            raise RuntimeError("prepare comes before training.")
        return self._data

    # -- training ----------------------------------------------------------------------------------
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
        data = self._fed()
        order = checked_order(order, data.rows)
        if order.size == 0:
            return 0.0
        self._lay_out(data.rows)
        alpha = data.scaled(self._alpha)
        if self._training is None:
            plan = plans.plan_training(self._layout, self._batch_size, self._most_threads)
            self._training = self._bound(plan, self._optimizer.update(self.network.dtype, alpha))
        self._refresh()
        batches = data.batches(order, self._batch_size)
        # Before the first update there is no rate: such minibatches are left out.
        rates = self._optimizer.rates(learning_rate, np.maximum(self._step + batches.updates, 1))
        losses = np.zeros((len(batches.sizes), 2))
        self._training.begin_epoch(order, rates=rates, scales=batches.scales, losses=losses)
        self._train(self._training, batches, len(order))
        # loss of a minibatch = (Σ weighted losses + ½ α ‖W‖²) / Σ weights
        sums = (losses[:, 0] + 0.5 * alpha * losses[:, 1]) * batches.scales * batches.sizes
        return float(sums.sum() / max(1, batches.n_rows))

    def _train(self, training: Minibatches, batches: Batches, n_rows: int) -> None:
        """Go through the minibatches of an epoch in calls of a length to choose."""
        done, used = 0, batches.used
        while done < len(used):
            threads, longest = training.pace.next_call()
            part = used[done : done + longest]
            started = time.perf_counter()
            stoppable = len(part) == 1 and training.seconds > plans.LONG_SECONDS
            if stoppable:
                self._undo = [array.copy() for array in (self._parameters, *self._moments)]
            call = self._new_call(training, threads, part, n_rows, counts=len(part))
            call.run(stoppable=stoppable)
            self._settle()
            seconds = time.perf_counter() - started
            training.seconds = seconds / len(part)
            whole = float(batches.sizes[part].sum()) / self._batch_size
            training.pace.record(whole, seconds, call.seconds_on_core)
            done += len(part)

    def _new_call(
        self,
        training: Minibatches,
        n_threads: int,
        batches: np.ndarray,
        n_rows: int,
        *,
        counts: int = 0,
    ) -> Call:
        """A call over some minibatches, which `_settle` knows of from here on."""
        self._call = Call(
            training.memory, n_threads, batches, counts=counts, **training.bound.fields,
            n_rows=n_rows, batch_size=training.plan.batch_size,
        )  # fmt: skip
        return self._call

    def loss_and_gradient(self) -> tuple[float, Parameters]:
        """Mean loss over all rows with its L2 term, and its gradient (for L-BFGS)."""
        self._settle()
        data, network = self._fed(), self.network
        n, alpha = data.rows.n_samples, data.scaled(self._alpha)
        self._lay_out(data.rows)
        if self._whole is None:
            plan = plans.plan_training(
                self._layout, min(n, plans.FULL_GRADIENT_ROWS), self._most_threads,
                whole_gradient=True,
            )  # fmt: skip
            self._gradients = aligned_zeros(self._layout.size, network.dtype)
            self._whole = self._bound(plan, Update(None), gradients=self._gradients)
        whole = self._whole
        self._refresh()
        batches = np.arange(-(-n // whole.plan.batch_size))
        losses, ones = np.zeros((len(batches), 2)), np.ones(len(batches))
        whole.begin_epoch(np.arange(n), rates=ones, scales=ones, losses=losses)
        call = self._new_call(whole, whole.plan.n_threads, batches, n)
        work = plans.TRAINING_PRODUCTS * n * network.multiply_adds
        call.run(stoppable=work > plans.LONG_SECONDS * plans.SLOW)
        self._settle()
        total = data.total_weight
        coefs, intercepts = self._layout.unpack(self._gradients)
        weights, _ = self._layout.unpack(self._parameters)
        coefs = [(g + alpha * w) / total for g, w in zip(coefs, weights, strict=True)]
        intercepts = [g / total for g in intercepts]
        # The weights stay as they are: ‖W‖² of one minibatch is that of all.
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
        self._lay_out(rows)
        return predict(
            self._layout, self._parameters, rows, order, self._most_threads,
            probabilities=probabilities,
        )  # fmt: skip
