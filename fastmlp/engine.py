"""Engine: the buffers of one network, and the compiled calls that work on them."""

from __future__ import annotations

import time

import numpy as np

from fastmlp.kernels import fields as at
from fastmlp.kernels.backprop import GRADIENT_ROWS
from fastmlp.kernels.optimizers import N_CONSTANTS, NONE
from fastmlp.kernels.tasks import CONTROL_SIZE
from fastmlp.kernels.training import run
from fastmlp.network import Network, Parameters
from fastmlp.optimizer import Optimizer, OptimizerState
from fastmlp.pace import Pace
from fastmlp.rows import Rows
from fastmlp.threads import available_threads, compile_for, run_together
from fastmlp.workspace import Workspace, aligned_zeros, weight_segments, weights_in_cache

__all__ = ["Engine", "Optimizer", "OptimizerState", "Parameters"]

#: Rows of a prediction's block: its activations stay in cache, and its buffers stay small.
_PREDICTION_ROWS = 192

#: A thread more must have this many multiply-adds of a minibatch to do, or the handing over of
#: cache lines costs more than it gains.
_WORK_PER_THREAD = 300_000

#: The same for a prediction, where a thread more costs its start.
_PREDICTION_WORK_PER_THREAD = 1_000_000

#: Multiply-adds of a task that is long beside a time slice of the operating system, because no
#: thread gives way within a task; and how many of each phase a thread has at most. Weights that are
#: not in its cache are read by each task anew, so there it has one.
_TASK_WORK = 40_000_000
_MOST_TASKS_PER_THREAD = 2

#: Multiply-adds of a short minibatch, of which a time slice of the operating system takes dozens.
_SHORT_WORK = 10_000_000

#: A call that may take longer than this is left at an interrupt, instead of being finished.
_LONG_SECONDS = 0.25

#: Multiply-adds a second of a slow core: what a call takes at most, before one has been timed.
_SLOW = 1e10

#: Rows that one pass of the full gradient takes at a time: memory stays that of a minibatch.
_GRADIENT_BATCH = 2048


class Engine:
    """Trains and applies one network; parameters, gradients and moments stay in its flat buffers.

    Parameters
    ----------
    network : Network
        Widths, activations and dtype.
    n_threads : int or None
        Most threads to use; None: `numba.get_num_threads()` of the calling thread.
    """

    def __init__(self, network: Network, n_threads: int | None = None) -> None:
        self.network = network
        self._most_threads = available_threads(n_threads)
        self._parameters = aligned_zeros(network.size, network.dtype)
        self._places = np.zeros(at.N_PLACES, np.int64)
        self._rows: Rows | None = None  # to train on
        self._places[at.PARAMETERS] = self._parameters.ctypes.data
        eps = float(np.finfo(network.dtype).eps)
        # A probability is clipped to [eps, 1 − eps] in the type that it is computed in.
        largest = float(network.dtype.type(1) - network.dtype.type(eps))
        limits = np.array([-np.log(largest), -np.log(eps)], network.dtype)
        self._limits = limits.astype(np.float64)

    # -- parameters --------------------------------------------------------------------------------
    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Copy weights and biases in; ValueError where a shape is not the network's."""
        self.network.pack((coefs, intercepts), self._parameters)
        self._stale = True

    def get_parameters(self) -> Parameters:
        """Fresh copies of weights and biases."""
        return self.network.unpack(self._parameters)

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
        """Allocate what training on these rows needs.

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
            Update and constants; its moments start at 0.
        """
        dtype, size = self.network.dtype, self.network.size
        self._check_rows(rows)
        self._rows, self._optimizer, self._alpha = rows, optimizer, float(alpha)
        for name, array in (("targets", targets), ("sample_weight", sample_weight)):
            if array is not None and np.shape(array) != (rows.n_samples,):
                raise ValueError(f"{name} must have shape ({rows.n_samples},).")
        self._targets = np.require(targets, np.bool_, ("C", "A"))
        if sample_weight is not None:
            # Weights and alpha times a power of two train the same network to the last bit. So the
            # largest weight is brought near 1: none overflows in float32, nor does 1 / Σ weights.
            exponent = int(np.frexp(sample_weight.max(initial=0.0))[1])
            sample_weight = np.ldexp(sample_weight.astype(np.float64, copy=False), -exponent)
            self._alpha = float(np.ldexp(self._alpha, -exponent))
        self._weight_of_row = sample_weight
        self._constants = np.array([self._alpha, *optimizer.constants(dtype)], np.float64)
        self._moments = [aligned_zeros(size, dtype) for _ in range(optimizer.n_moments)]
        self._transposes = aligned_zeros(self.network.transposed_size, dtype)
        self._gradients: np.ndarray | None = None  # of all parameters; for L-BFGS
        self._row_squares = np.zeros(self.network.n_rows)
        self._zeros = aligned_zeros(max(self.network.strides), dtype)
        self._one = np.ones(1, dtype)
        self._n_entries = None if rows.array is not None else np.diff(rows.csr[1])
        self._step = 0
        self._stale = True
        for place, buffer in (
            (at.MOMENT_1, self._moments[0]),
            (at.MOMENT_2, self._moments[-1]),
            (at.TRANSPOSES, self._transposes),
            (at.ZEROS, self._zeros),
            (at.ONE, self._one),
            (at.TARGETS, self._targets),
            (at.SAMPLE_WEIGHT, self._weight_of_row),
        ):
            self._places[place] = 0 if buffer is None else buffer.ctypes.data
        rows.write_places(self._places)
        self._plan(batch_size)

    def _training_rows(self) -> Rows:
        if self._rows is None:
            raise RuntimeError("prepare comes before training.")
        return self._rows

    def _check_rows(self, rows: Rows) -> None:
        if rows.n_features != self.network.widths[0]:
            raise ValueError(
                f"X has {rows.n_features} features, but the network expects "
                f"{self.network.widths[0]} features as input."
            )

    def _plan(self, batch_size: int) -> None:
        """Buffers and tasks of a minibatch."""
        self._batch_size = batch_size
        work = 2 * batch_size * self.network.multiply_adds
        n_threads = min(self._most_threads, work // _WORK_PER_THREAD, batch_size // 8)
        self._n_threads = max(1, n_threads)
        n_units = self._n_threads
        if n_units > 1 and weights_in_cache(self.network):
            n_units *= max(1, min(work // n_units // _TASK_WORK, _MOST_TASKS_PER_THREAD))
        self._segments = weight_segments(self.network, n_units)
        self._workspace = Workspace(
            self.network,
            batch_size,
            n_units,
            -(-batch_size // n_units),
            dense=self._training_rows().array is not None,
            backward=True,
        )
        self._workspace.write_places(self._places)
        self._batches: tuple[np.ndarray, ...] | None = None
        blocks = -(-self.network.widths[0] // GRADIENT_ROWS) if self._n_entries is not None else 0
        self._block_ends = np.zeros((n_units, blocks), np.int64)
        self._entries = np.zeros((0, 2), np.int64)
        self._pace = Pace(self._n_threads, short=work < _SHORT_WORK)
        self._batch_seconds = 1.5 * work / _SLOW

    def _refresh(self) -> None:
        """Derive transposed copies and row norms from weights that were set from outside."""
        if not self._stale:
            return
        network = self.network
        for layer, (coefs, entry) in enumerate(
            zip(network.views(self._parameters)[0], network.table, strict=True)
        ):
            first, rows = int(entry[at.FIRST_ROW]), int(entry[at.ROWS])
            squares = np.einsum("ij,ij->i", coefs, coefs, dtype=np.float64)
            self._row_squares[first : first + rows] = squares if rows > 1 else squares.sum()
            if 0 < layer < network.n_layers - 1:
                start, stride = int(entry[at.TRANSPOSED]), int(entry[at.TRANSPOSED_STRIDE])
                n_in, n_out = coefs.shape
                target = self._transposes[start : start + n_out * stride].reshape(n_out, stride)
                target[:, :n_in] = coefs.T
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
        if self._weight_of_row is not None:
            totals = np.add.reduceat(self._weight_of_row[order], starts, dtype=np.float64)
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
        are those of whole minibatches whenever the caller's Python code runs.
        """
        order = self._checked_order(order, self._training_rows())
        if order.size == 0:
            return 0.0
        starts, sizes, scales = self._minibatches(order)
        used = scales > 0
        steps = np.cumsum(used)
        rates = self._optimizer.rates(learning_rate, np.maximum(self._step + steps, 1))
        self._refresh()
        self._make_room(order, starts)
        losses = np.zeros((len(starts), 2))
        batch = 0
        while batch < len(starts):
            threads, longest = self._pace.next_call()
            end = min(batch + longest, len(starts))
            started = time.perf_counter()
            part = slice(batch, end)
            rows = order[starts[batch] : starts[end - 1] + sizes[end - 1]]
            stoppable = end == batch + 1 and self._batch_seconds > _LONG_SECONDS
            before = self._snapshot() if stoppable else None
            numbers = losses[part], rates[part], scales[part]
            try:
                self._run(at.TRAIN, threads, rows, *numbers, stoppable)
            except BaseException:
                if before is not None:
                    self._restore(before)
                raise
            seconds = time.perf_counter() - started
            self._batch_seconds = seconds / (end - batch)
            self._pace.record(len(rows) / self._batch_size, seconds)
            batch = end
        # loss of a minibatch = (Σ weighted losses + ½ α ‖W‖²) / Σ weights
        totals = (losses[:, 0] + 0.5 * self._alpha * losses[:, 1]) * scales * sizes
        return float(totals.sum() / max(1, sizes @ used))

    def _make_room(self, order: np.ndarray, starts: np.ndarray) -> None:
        """Have room for the entries of each minibatch, where X is sparse."""
        if self._n_entries is None:
            return
        most = int(np.add.reduceat(self._n_entries[order], starts).max(initial=0))
        if most > len(self._entries):
            self._entries = np.zeros((most, 2), np.int64)

    def _snapshot(self) -> tuple[int, list[np.ndarray]]:
        return self._step, [array.copy() for array in (self._parameters, *self._moments)]

    def _restore(self, snapshot: tuple[int, list[np.ndarray]]) -> None:
        self._step, arrays = snapshot
        for array, earlier in zip((self._parameters, *self._moments), arrays, strict=True):
            array[...] = earlier
        self._stale = True

    def _run(
        self,
        mode: int,
        n_threads: int,
        order: np.ndarray,
        losses: np.ndarray,
        rates: np.ndarray,
        scales: np.ndarray,
        stoppable: bool,
    ) -> None:
        work = self._workspace
        optimizer = NONE if mode == at.GRADIENT else self._optimizer.code
        settings = _settings(
            mode, len(losses), self._batch_size, len(order), work, work.n_units, optimizer
        )
        arguments = (
            np.zeros(CONTROL_SIZE, np.int64), settings, self._places, work.table,
            self._segments, self._training_rows().csr, self._entries, self._block_ends, order,
            self._row_squares, losses, rates, scales, self._limits, self._constants,
        )  # fmt: skip
        compile_for(run, arguments)
        try:
            run_together(run, n_threads, *arguments, stoppable=stoppable)
        finally:  # an interrupt is raised when the work is done, or is then undone
            if mode == at.TRAIN:
                self._step += int(np.count_nonzero(scales))

    def get_moments(self) -> OptimizerState:
        """A copy of the optimizer's state."""
        return OptimizerState(self._step, [self.network.unpack(m) for m in self._moments])

    def end_training(self) -> None:
        """Drop the buffers of gradients and minibatches; `prepare` comes before more training."""
        self._rows = None
        for name in ("_gradients", "_transposes", "_zeros", "_workspace", "_batches", "_entries"):
            vars(self).pop(name, None)
        parameters = self._places[at.PARAMETERS]
        self._places[...] = 0
        self._places[at.PARAMETERS] = parameters

    def set_moments(self, state: OptimizerState) -> None:
        """Continue from a state of the same optimizer and network."""
        if len(state.moments) != len(self._moments):
            raise ValueError("The optimizer's state is another optimizer's.")
        for moment, parameters in zip(self._moments, state.moments, strict=True):
            self.network.pack(parameters, moment)
        self._step = state.step

    def loss_and_gradient(self) -> tuple[float, Parameters]:
        """Mean loss over all rows with its L2 term, and its gradient (for L-BFGS)."""
        n = self._training_rows().n_samples
        if self._batch_size != min(n, _GRADIENT_BATCH):
            self._plan(min(n, _GRADIENT_BATCH))
        self._refresh()
        n_batches = -(-n // self._batch_size)
        losses, ones = np.zeros((n_batches, 2)), np.ones(n_batches)
        long = 3 * n * self.network.multiply_adds > _LONG_SECONDS * _SLOW
        order = np.arange(n)
        self._make_room(order, order[:: self._batch_size])
        if self._gradients is None:
            self._gradients = aligned_zeros(self.network.size, self.network.dtype)
            self._places[at.GRADIENTS] = self._gradients.ctypes.data
        self._run(at.GRADIENT, self._n_threads, order, losses, ones, ones, long)
        total = n if self._weight_of_row is None else float(self._weight_of_row.sum())
        coefs, intercepts = self.network.unpack(self._gradients)
        weights, _ = self.network.views(self._parameters)
        coefs = [(g + self._alpha * w) / total for g, w in zip(coefs, weights, strict=True)]
        intercepts = [g / total for g in intercepts]
        loss = (losses[:, 0].sum() + 0.5 * self._alpha * losses[0, 1]) / total
        return float(loss), (coefs, intercepts)

    # -- inference ---------------------------------------------------------------------------------
    def logits(self, rows: Rows, order: np.ndarray | None = None) -> np.ndarray:
        """z⁽ᴸ⁾ of the rows, or of those that `order` names: shape (n,), of the network's dtype."""
        return self._predict(at.LOGITS, rows, order)[:, 0]

    def probabilities(self, rows: Rows, order: np.ndarray | None = None) -> np.ndarray:
        """1 − ŷ and ŷ = σ(z⁽ᴸ⁾), neither ever 0: shape (n, 2), of the network's dtype."""
        return self._predict(at.PROBABILITIES, rows, order)

    def _checked_order(self, order: np.ndarray, rows: Rows) -> np.ndarray:
        """Row numbers as the kernels read them: none outside X, so that nothing is read there."""
        order = np.require(order, np.int64, ("C", "A", "E", "W"))
        if order.size and (order.min() < 0 or order.max() >= rows.n_samples):
            raise ValueError("order names rows that X does not have.")
        return order

    def _predict(self, mode: int, rows: Rows, order: np.ndarray | None) -> np.ndarray:
        self._check_rows(rows)
        dtype = self.network.dtype
        # To the kernels, an order without rows means all rows as they are.
        n = rows.n_samples if order is None else len(order)
        order = np.empty(0, np.int64) if order is None else self._checked_order(order, rows)
        result = np.empty((n, 2 if mode == at.PROBABILITIES else 1), dtype)
        if n == 0:
            return result
        block = min(n, _PREDICTION_ROWS)
        n_blocks = -(-n // block)
        work = n * self.network.multiply_adds
        n_threads = min(self._most_threads, work // _PREDICTION_WORK_PER_THREAD, n_blocks)
        n_threads = max(1, n_threads)
        space = Workspace(
            self.network, n_threads * block, n_threads, block,
            dense=rows.array is not None, backward=False,
        )  # fmt: skip
        places = self._places.copy()
        space.write_places(places)
        rows.write_places(places)
        places[at.RESULT] = result.ctypes.data
        settings = _settings(mode, n_blocks, block, n, space, 0, NONE)
        settings[at.ROW_UNITS] = 1
        nothing = np.empty(0)
        arguments = (
            np.zeros(CONTROL_SIZE, np.int64), settings, places, space.table,
            np.empty((0, 4), np.int64), rows.csr, *[np.empty((0, 2), np.int64)] * 2, order, nothing,
            nothing.reshape(0, 2), nothing, nothing, self._limits, np.zeros(1 + N_CONSTANTS),
        )  # fmt: skip
        compile_for(run, arguments)
        run_together(run, n_threads, *arguments, stoppable=work > _LONG_SECONDS * _SLOW)
        return result


def _settings(
    mode: int,
    n_batches: int,
    batch_size: int,
    n_rows: int,
    work: Workspace,
    weight_units: int,
    optimizer: int,
) -> np.ndarray:
    """What one call does: an array of its own, because a late thread may still read it."""
    settings = np.zeros(at.N_SETTINGS, np.int64)
    settings[at.MODE], settings[at.N_BATCHES], settings[at.N_ROWS] = mode, n_batches, n_rows
    settings[at.BATCH_SIZE], settings[at.OPTIMIZER] = batch_size, optimizer
    settings[at.ROW_UNITS], settings[at.UNIT_ROWS] = work.n_units, work.unit_rows
    settings[at.BLOCK_ROWS] = work.block_rows
    settings[at.WEIGHT_UNITS] = weight_units
    settings[at.SIZE], settings[at.GRADIENT_SIZE] = work.scratch.itemsize, work.gradient_size
    settings[at.SCRATCH_UNITS], settings[at.SCRATCH_ROW] = work.n_units, work.scratch.shape[2]
    return settings
