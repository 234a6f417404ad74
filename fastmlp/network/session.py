"""A session: the numbers of one network, and the calls that train it, apply it and take its state.

Memory is safe wherever an exception lands. Threads know buffers by address alone, but a thread that
works for a call holds the call, which holds the buffers. And what a call has left half done is set
right before the session is used again, not in the handler of the exception: that one may itself be
interrupted.
"""

from __future__ import annotations

import time

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.network import plan as plans
from fastmlp.network.encoder import Columns
from fastmlp.network.layout import Network, Parameters, aligned_zeros
from fastmlp.network.minibatch import Update
from fastmlp.network.minibatches import (
    Batches,
    Data,
    Minibatches,
    checked_order,
    data_of,
    minibatches,
)
from fastmlp.network.numbers import Numbers, State
from fastmlp.network.optimizer import Optimizer
from fastmlp.network.prediction import predict
from fastmlp.network.regularisation import NONE, Regularisation
from fastmlp.network.sensitivity import input_gradient
from fastmlp.runtime.call import Call
from fastmlp.runtime.team import available_threads, get_ready

__all__ = ["Optimizer", "Session", "State"]


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
    columns : Columns, optional
        What the encoder of the network goes by, if it has one.
    """

    def __init__(
        self,
        network: Network,
        n_threads: int | None = None,
        *,
        sparse: bool = False,
        columns: Columns | None = None,
    ) -> None:
        self.network = network
        self._most_threads = available_threads(n_threads)
        self._numbers = Numbers(network, sparse, columns)
        self._optimizer, self._alpha, self._batch_size = Optimizer(), 0.0, 1
        self.regularisation = NONE
        self._step = 0
        self._data: Data | None = None
        self.rows_of_epoch = 0  # in minibatches that were not left out
        # In which the session trains, and takes the gradient over all rows.
        self._training: Minibatches | None = None
        self._whole: Minibatches | None = None
        # A call under way, and the numbers before it, where it can be left in the middle.
        self._call: Call | None = None
        self._undo: list[np.ndarray] | None = None
        self._gradients = np.empty(0)
        self._cancelled = False

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
            for array, earlier in zip(self._numbers.arrays, self._undo, strict=True):
                array[...] = earlier
            self._numbers.stale = True
        self._call = self._undo = None

    # -- parameters and state ----------------------------------------------------------------------
    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Copy weights and biases in; ValueError where a shape is not the network's."""
        self._settle()
        self._numbers.set_parameters((coefs, intercepts))

    def get_parameters(self) -> Parameters:
        """Fresh copies of weights and biases; in a training that averages them, of the average."""
        self._settle()
        return self._numbers.layout.unpack(self._numbers.model)

    def state(self) -> State:
        """Where training stands: a copy."""
        self._settle()
        return self._numbers.state(self._step)

    def load(self, state: State) -> None:
        """Go on from a state of the same network and optimizer.

        Raises
        ------
        ValueError
            If it is another network's, or another optimizer's.
        """
        self._settle()
        self._numbers.load(state)
        self._step = state.step

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
        regularisation: Regularisation = NONE,
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
        regularisation : Regularisation, optional
            What else is done in training.

        Raises
        ------
        ValueError
            As `feed`; or if a network with an encoder is to have what it has no steps for: an L2
            term, clipped gradients, or dropout of its input.
        """
        unknown = alpha > 0 or regularisation.max_grad_norm is not None
        if self.network.encoder is not None and (unknown or regularisation.input_dropout > 0):
            raise ValueError("An encoder has no L2 term, no clipping and no dropout of its input.")
        self._settle()
        self._lay_out(rows)
        self._optimizer, self._alpha, self._batch_size = optimizer, float(alpha), batch_size
        self.regularisation = regularisation
        self._numbers.begin(optimizer.n_moments, averaged=regularisation.ema_decay is not None)
        self._step = 0
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

    def cancel(self) -> None:
        """Have a training that another thread runs end there as by an interrupt, within 0.2 s."""
        self._cancelled = True
        call = self._call  # which that thread may drop at any moment
        if call is not None and self._undo is not None:
            call.stop()

    def end_training(self) -> None:
        """Drop the buffers of minibatches and the rows; `prepare` comes before more training."""
        self._settle()
        self._data = self._training = self._whole = None
        self._numbers.drop_derived()

    def _lay_out(self, rows: Rows) -> None:
        """Have weights and moments laid out for X of this kind; ValueError for other features."""
        if self._numbers.lay_out(rows):
            self._training = self._whole = None  # they work in the old arrays

    def _bound(self, plan: plans.Plan, update: Update, **more: np.ndarray) -> Minibatches:
        """Minibatches that work in this session's numbers."""
        numbers = {**self._numbers.by_name(), **more}
        return minibatches(self._numbers.layout, self._fed(), plan, update, numbers)

    def _fed(self) -> Data:
        if self._data is None:
            raise RuntimeError("prepare comes before training.")
        return self._data

    # -- training ----------------------------------------------------------------------------------
    def train_epoch(self, order: np.ndarray, learning_rate: float | np.ndarray) -> float:
        """One pass over the rows named by `order` in minibatches; returns the mean loss.

        Parameters
        ----------
        order : ndarray of int64
            Row numbers in the order of training; the last minibatch may be ragged.
        learning_rate : float or ndarray of shape (n_minibatches,)
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
        if self._cancelled:
            raise KeyboardInterrupt  # before anything is compiled for it
        data = self._fed()
        order = checked_order(order, data.rows)
        self.rows_of_epoch = 0
        if order.size == 0:
            return 0.0
        self._lay_out(data.rows)
        alpha, members = data.scaled(self._alpha), self.network.members
        if members > 1:
            order = np.repeat(order, members)
        training = self._minibatches(data)
        self._numbers.refresh()
        batches = data.batches(order, training.plan.batch_size)
        # Before the first update there is no rate: such minibatches are left out.
        updates = np.maximum(self._step + batches.updates, 1)
        self.rows_of_epoch = batches.n_rows // members
        rates = self._optimizer.rates(learning_rate, updates)
        losses, scales = np.zeros((len(batches.sizes), 2)), batches.scales
        if self.regularisation.max_grad_norm is not None:
            scales = scales.copy()  # clipping writes to them, and the batches keep theirs
        training.begin_epoch(
            order,
            seed=self.regularisation.seed,
            rates=rates,
            scales=scales,
            losses=losses,
            **self.regularisation.by_batch(updates, learning_rate),
        )
        self._train(training, batches, len(order))
        # loss of a minibatch = (Σ weighted losses + ½ α ‖W‖²) / Σ weights
        sums = (losses[:, 0] + 0.5 * alpha * losses[:, 1]) * batches.scales * batches.sizes
        return float(sums.sum() / max(1, batches.n_rows))

    def compile(self, validation: Rows | None = None) -> None:
        """Have compiled, in this thread, what training runs, with rows to validate on or without.

        Only the main thread is free for an interrupt while something is compiled.
        """
        self._settle()
        data = self._fed()
        self._lay_out(data.rows)
        self._minibatches(data)
        get_ready(self._most_threads)
        if validation is not None and validation.n_samples > 0:
            # A score may ask for either; one row takes the steps of all.
            self.probabilities(validation, np.zeros(1, np.int64))
            if self.network.encoder is None:
                self.logits(validation, np.zeros(1, np.int64))

    def _minibatches(self, data: Data) -> Minibatches:
        """Those that the session trains in, made once."""
        if self._training is None:
            alpha, layout = data.scaled(self._alpha), self._numbers.layout
            update = self._optimizer.update(self.network.dtype, alpha, self.regularisation)
            batch_size = self._batch_size * self.network.members
            plan = plans.plan_training(layout, batch_size, self._most_threads)
            self._training = self._bound(plan, update)
        return self._training

    def _train(self, training: Minibatches, batches: Batches, n_rows: int) -> None:
        """Go through the minibatches of an epoch in calls of a length to choose."""
        done, used = 0, batches.used
        while done < len(used) and not self._cancelled:
            threads, longest = training.pace.next_call()
            part = used[done : done + longest]
            started = time.perf_counter()
            stoppable = len(part) == 1 and training.seconds > plans.LONG_SECONDS
            if stoppable:
                self._undo = [array.copy() for array in self._numbers.arrays]
            call = self._new_call(training, threads, part, n_rows, counts=len(part))
            if stoppable and self._cancelled:
                call.stop()  # `cancel` may have come before there was this call
            call.run(stoppable=stoppable)
            self._settle()
            seconds = time.perf_counter() - started
            training.seconds = seconds / len(part)
            whole = float(batches.sizes[part].sum()) / training.plan.batch_size
            training.pace.record(whole, seconds, call.seconds_on_core)
            done += len(part)
        if self._cancelled:
            # The last call may have been left, and undone.
            raise KeyboardInterrupt

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
            n_rows=n_rows, batch_size=training.plan.batch_size, flushes=1,
        )  # fmt: skip
        return self._call

    def loss_and_gradient(self) -> tuple[float, Parameters]:
        """Mean loss over all rows with its L2 term, and its gradient (for L-BFGS)."""
        if self.network.encoder is not None:
            raise ValueError("A network with an encoder is trained in minibatches.")
        self._settle()
        data, network = self._fed(), self.network
        n, alpha = data.rows.n_samples, data.scaled(self._alpha)
        self._lay_out(data.rows)
        if self._whole is None:
            plan = plans.plan_training(
                self._numbers.layout, min(n, plans.FULL_GRADIENT_ROWS), self._most_threads,
                whole_gradient=True,
            )  # fmt: skip
            self._gradients = aligned_zeros(self._numbers.layout.size, network.dtype)
            # Of regularisation, only targets are part of the loss; dropout belongs to updates.
            smoothing = Regularisation(label_smoothing=self.regularisation.label_smoothing)
            update = Update(None, regularisation=smoothing)
            self._whole = self._bound(plan, update, gradients=self._gradients)
        whole = self._whole
        self._numbers.refresh()
        batches = np.arange(-(-n // whole.plan.batch_size))
        losses, ones = np.zeros((len(batches), 2)), np.ones(len(batches))
        whole.begin_epoch(np.arange(n), rates=ones, scales=ones, losses=losses)
        call = self._new_call(whole, whole.plan.n_threads, batches, n)
        work = plans.TRAINING_PRODUCTS * n * network.multiply_adds
        call.run(stoppable=work > plans.LONG_SECONDS * plans.SLOW)
        self._settle()
        total = data.total_weight
        coefs, intercepts = self._numbers.layout.unpack(self._gradients)
        weights, _ = self._numbers.layout.unpack(self._numbers.parameters)
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

    def input_gradient(self, rows: Rows) -> np.ndarray:
        """∂z⁽ᴸ⁾/∂x of the rows: shape (n, n_features), of the network's dtype."""
        self._settle()
        self._lay_out(rows)
        return input_gradient(self._numbers.layout, self._numbers.model, rows, self._most_threads)

    def _predict(self, rows: Rows, order: np.ndarray | None, *, probabilities: bool) -> np.ndarray:
        self._settle()
        self._lay_out(rows)
        return predict(
            self._numbers.layout, self._numbers.model, rows, order, self._most_threads,
            probabilities=probabilities, encoding=self._numbers.encoding(),
        )  # fmt: skip
