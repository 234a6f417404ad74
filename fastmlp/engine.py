"""Engine: the buffers of one network, and the compiled calls that work on them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fastmlp.kernels import fields as at
from fastmlp.kernels.optimizers import ADAM, NESTEROV, NONE, SGD
from fastmlp.kernels.tasks import CONTROL_SIZE
from fastmlp.kernels.training import run
from fastmlp.kernels.vectors import BLOCK
from fastmlp.network import Network, Parameters, padded
from fastmlp.rows import Rows
from fastmlp.threads import available_threads, run_together

#: Rows of a prediction's block: its activations stay in cache, and its buffers stay small.
_PREDICTION_ROWS = 192

#: A thread more must have this many multiply-adds of a minibatch to do, or the handing over of
#: cache lines costs more than it gains.
_WORK_PER_THREAD = 100_000

#: Longest time that a compiled call should take, so that an interrupt is served soon.
_SLICE_SECONDS = 0.2

#: Rows that one pass of the full gradient takes at a time: memory stays that of a minibatch.
_GRADIENT_BATCH = 2048

_CACHE_LINE = 64


@dataclass(frozen=True)
class Optimizer:
    """Which update is made, and its constants (see `kernels.optimizers`)."""

    solver: str = "adam"
    momentum: float = 0.9
    nesterov: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    @property
    def code(self) -> int:
        if self.solver == "adam":
            return ADAM
        # Without momentum, Nesterov's step is the plain one.
        return NESTEROV if self.nesterov and self.momentum > 0 else SGD

    @property
    def n_moments(self) -> int:
        """Arrays that it carries from one update to the next."""
        return 2 if self.solver == "adam" else 1

    def constants(self) -> list[float]:
        """In the order of `kernels.optimizers`."""
        rest_1, rest_2 = 1.0 - self.beta_1, 1.0 - self.beta_2
        return [self.momentum, self.beta_1, rest_1, self.beta_2, rest_2, self.epsilon]

    def rates(self, learning_rate: float, first_step: int, n_steps: int) -> np.ndarray:
        """Rates of the updates first_step, first_step + 1, …: Adam's hold its bias correction."""
        if self.solver != "adam":
            return np.full(n_steps, learning_rate)
        t = np.arange(first_step, first_step + n_steps)
        return learning_rate * np.sqrt(1.0 - self.beta_2**t) / (1.0 - self.beta_1**t)


@dataclass
class OptimizerState:
    """What an optimizer carries from one epoch to the next, laid out like the parameters.

    step : number of updates made (Adam's t). moments : velocity, or Adam's first and second moment.
    """

    step: int
    moments: list[Parameters]


def aligned_zeros(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin on a cache line: a vector of 64 bytes then never crosses one."""
    size = int(np.prod(shape))
    room = np.zeros(size * dtype.itemsize + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    return room[start : start + size * dtype.itemsize].view(dtype).reshape(shape)


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
        self._settings = np.zeros(at.N_SETTINGS, np.int64)
        self._zeros = aligned_zeros(max(network.strides), network.dtype)
        self._one = np.ones(1, network.dtype)
        self._stale = True
        eps = float(np.finfo(network.dtype).eps)
        # A probability is clipped to [eps, 1 − eps] in the type that it is computed in.
        largest = float(network.dtype.type(1) - network.dtype.type(eps))
        self._limits = np.array([-np.log(largest), -np.log(eps)], network.dtype)

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
        network = self.network
        dtype, size = network.dtype, network.size
        self._check_rows(rows)
        self._rows, self._batch_size, self._optimizer = rows, batch_size, optimizer
        self._targets = np.ascontiguousarray(targets, dtype)
        if self._targets.shape != (rows.n_samples,):
            raise ValueError(f"targets must have shape ({rows.n_samples},).")
        self._weight_of_row = sample_weight
        weights = np.empty(0) if sample_weight is None else sample_weight
        self._sample_weight = np.ascontiguousarray(weights, dtype)
        if self._sample_weight.size not in (0, rows.n_samples):
            raise ValueError(f"sample_weight must have shape ({rows.n_samples},).")
        self._alpha = float(alpha)
        self._constants = np.array([alpha, *optimizer.constants()], dtype)
        self._moments = [aligned_zeros(size, dtype) for _ in range(optimizer.n_moments)]
        self._gradients = aligned_zeros(size, dtype)
        self._transposes = aligned_zeros(max(1, network.transposed_size), dtype)
        self._row_squares = np.zeros(network.n_rows)
        self._step = 0
        self._stale = True
        self._plan(batch_size)
        self._slice = 1

    def _check_rows(self, rows: Rows) -> None:
        if rows.n_features != self.network.widths[0]:
            raise ValueError(
                f"X has {rows.n_features} features, but the network expects "
                f"{self.network.widths[0]} features as input."
            )

    def _plan(self, batch_size: int) -> None:
        """Buffers of a minibatch, and its tasks."""
        network = self.network
        dtype = network.dtype
        work = batch_size * sum(a * b for a, b in network.shapes()) * 2
        self._n_threads = max(1, min(self._most_threads, work // _WORK_PER_THREAD, batch_size // 8))
        row_units = self._n_threads
        unit_rows = -(-batch_size // row_units)
        self._segments = weight_segments(network, self._n_threads)
        table = network.table.copy()
        offset = 0
        for layer, stride in enumerate(network.strides):
            if layer == 0 and self._rows.array is None:
                continue  # sparse rows are never unpacked
            table[layer, at.INPUT] = offset
            offset += batch_size * stride
        self._table = table
        self._activations = aligned_zeros(max(1, offset), dtype)
        self._deltas = aligned_zeros(max(1, offset), dtype)
        self._scratch = aligned_zeros((row_units, 5, padded(unit_rows)), dtype)
        self._output_delta = aligned_zeros(batch_size, dtype)
        self._row_loss = aligned_zeros(batch_size, dtype)
        places, settings = self._places, self._settings
        places[at.PARAMETERS] = self._parameters.ctypes.data
        places[at.GRADIENTS] = self._gradients.ctypes.data
        places[at.MOMENT_1] = self._moments[0].ctypes.data
        places[at.MOMENT_2] = self._moments[-1].ctypes.data
        places[at.TRANSPOSES] = self._transposes.ctypes.data
        places[at.ACTIVATIONS] = self._activations.ctypes.data
        places[at.DELTAS] = self._deltas.ctypes.data
        places[at.ZEROS] = self._zeros.ctypes.data
        places[at.ONE] = self._one.ctypes.data
        self._rows.write_places(places)
        settings[at.BATCH_SIZE] = batch_size
        settings[at.ROW_UNITS], settings[at.UNIT_ROWS] = row_units, unit_rows
        settings[at.WEIGHT_UNITS] = self._n_threads

    def _refresh(self) -> None:
        """Derive transposed copies and row norms from weights that were set from outside."""
        if not self._stale:
            return
        network = self.network
        for layer, (coefs, entry) in enumerate(
            zip(network.unpack(self._parameters)[0], network.table, strict=True)
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
        An epoch is cut into slices of at most about 0.2 s, between which interrupts are served. The
        weights are those of whole minibatches whenever Python runs.
        """
        order = self._checked_order(order, self._rows)
        n = len(order)
        starts = np.arange(0, n, self._batch_size)
        sizes = np.diff(np.append(starts, n))
        if self._weight_of_row is None:
            totals = sizes.astype(np.float64)
        else:
            totals = np.add.reduceat(self._weight_of_row[order], starts, dtype=np.float64)
        used = totals > 0
        scales = np.divide(1.0, totals, out=np.zeros(len(starts)), where=used)
        steps = np.cumsum(used)
        rates = np.zeros(len(starts))
        rates[used] = self._optimizer.rates(learning_rate, self._step + 1, int(steps[-1]))
        self._refresh()
        losses = np.zeros((len(starts), 2))
        batch = 0
        while batch < len(starts):
            end = min(batch + self._slice, len(starts))
            started = time.perf_counter()
            part = slice(batch, end)
            rows = order[starts[batch] : starts[end] if end < len(starts) else n]
            self._run(at.TRAIN, rows, losses[part], rates[part], scales[part])
            self._step += int(used[part].sum())
            seconds = (time.perf_counter() - started) / (end - batch)
            self._slice = max(1, int(min(_SLICE_SECONDS / max(seconds, 1e-9), 8 * (end - batch))))
            batch = end
        if not used.any():
            return 0.0
        # batch loss · rows = (Σ weighted losses + ½ α ‖W‖²) / Σ weights · rows
        per_batch = (losses[:, 0] + 0.5 * self._alpha * losses[:, 1]) * scales
        return float((per_batch * sizes)[used].sum() / sizes[used].sum())

    def _run(
        self, mode: int, order: np.ndarray, losses: np.ndarray, rates: np.ndarray, scales: np.ndarray
    ) -> None:
        settings = self._settings
        settings[at.MODE], settings[at.N_BATCHES], settings[at.N_ROWS] = mode, len(losses), len(order)
        settings[at.OPTIMIZER] = NONE if mode == at.GRADIENT else self._optimizer.code
        run_together(
            run, self._n_threads, np.zeros(CONTROL_SIZE, np.int64), settings.copy(), self._places,
            self._table, self._segments, self._rows.csr, order, self._targets, self._sample_weight,
            self._scratch, self._output_delta, self._row_loss, self._row_squares, losses, rates,
            scales, self._limits, self._constants, self._output_delta[:0],
        )  # fmt: skip

    def get_moments(self) -> OptimizerState:
        """A copy of the optimizer's state."""
        return OptimizerState(self._step, [self.network.unpack(m) for m in self._moments])

    def set_moments(self, state: OptimizerState) -> None:
        """Continue from a state of the same optimizer and network."""
        if len(state.moments) != len(self._moments):
            raise ValueError("The optimizer's state is another optimizer's.")
        for moment, parameters in zip(self._moments, state.moments, strict=True):
            self.network.pack(parameters, moment)
        self._step = state.step

    def loss_and_gradient(self) -> tuple[float, Parameters]:
        """Mean loss over all rows with its L2 term, and its gradient (for L-BFGS)."""
        n = self._rows.n_samples
        order = np.arange(n)
        if self._batch_size != min(n, _GRADIENT_BATCH):
            self._batch_size = min(n, _GRADIENT_BATCH)
            self._plan(self._batch_size)
        self._refresh()
        n_batches = -(-n // self._batch_size)
        losses, ones = np.zeros((n_batches, 2)), np.ones(n_batches)
        self._run(at.GRADIENT, order, losses, ones, ones)
        total = n if self._weight_of_row is None else float(self._weight_of_row.sum())
        coefs, intercepts = self.network.unpack(self._gradients)
        weights, _ = self.get_parameters()
        coefs = [(g + self._alpha * w) / total for g, w in zip(coefs, weights, strict=True)]
        intercepts = [g / total for g in intercepts]
        loss = (losses[:, 0].sum() + 0.5 * self._alpha * losses[0, 1]) / total
        return float(loss), (coefs, intercepts)

    # -- inference ---------------------------------------------------------------------------------
    def logits(self, rows: Rows, order: np.ndarray | None = None) -> np.ndarray:
        """z⁽ᴸ⁾ of the rows, or of those that `order` names: shape (n,), of the network's dtype."""
        return self._predict(at.LOGITS, rows, order)

    def probabilities(self, rows: Rows, order: np.ndarray | None = None) -> np.ndarray:
        """ŷ = σ(z⁽ᴸ⁾): shape (n,), of the network's dtype."""
        return self._predict(at.PROBABILITIES, rows, order)

    def _checked_order(self, order: np.ndarray, rows: Rows) -> np.ndarray:
        """Row numbers as the kernels read them: none outside X, so that nothing is read there."""
        order = np.ascontiguousarray(order, np.int64)
        if order.size and (order.min() < 0 or order.max() >= rows.n_samples):
            raise ValueError("order names rows that X does not have.")
        return order

    def _predict(self, mode: int, rows: Rows, order: np.ndarray | None) -> np.ndarray:
        self._check_rows(rows)
        network = self.network
        order = np.empty(0, np.int64) if order is None else self._checked_order(order, rows)
        n = rows.n_samples if order.size == 0 else order.size
        result = np.empty(n, network.dtype)
        block = min(n, _PREDICTION_ROWS)
        n_blocks = -(-n // block)
        work = n * sum(a * b for a, b in network.shapes())
        n_threads = max(1, min(self._most_threads, work // (10 * _WORK_PER_THREAD), n_blocks))
        table = network.table.copy()
        offset = 0
        for layer, stride in enumerate(network.strides):
            table[layer, at.INPUT] = offset
            offset += n_threads * block * stride
        activations = aligned_zeros(offset, network.dtype)
        places, settings = self._places.copy(), self._settings.copy()
        places[at.PARAMETERS] = self._parameters.ctypes.data
        places[at.ACTIVATIONS] = activations.ctypes.data
        rows.write_places(places)
        settings[at.MODE], settings[at.N_BATCHES], settings[at.N_ROWS] = mode, n_blocks, n
        settings[at.BATCH_SIZE] = settings[at.UNIT_ROWS] = block
        settings[at.ROW_UNITS], settings[at.WEIGHT_UNITS] = 1, 0
        none = np.empty(0)
        run_together(
            run, n_threads, np.zeros(CONTROL_SIZE, np.int64), settings, places, table,
            np.empty((0, 4), np.int64), rows.csr, order, result[:0], result[:0],
            np.zeros((n_threads, 5, padded(block)), network.dtype), result[:0], result[:0], none,
            none.reshape(0, 2), none, none, self._limits, np.zeros(7, network.dtype), result,
        )  # fmt: skip
        return result


def weight_segments(network: Network, n_units: int) -> np.ndarray:
    """Phase 2 in n_units units of equal work: rows (unit, layer, first row, last row + 1).

    A unit may hold parts of several layers; a part begins on a whole block, because the transpose
    that follows the update goes block by block.
    """
    pieces = []  # (work, layer, first, end), as fine as they can be cut
    for layer, entry in enumerate(network.table):
        rows, n_out = int(entry[at.ROWS]), int(entry[at.N_OUT])
        step = BLOCK if 0 < layer < network.n_layers - 1 else 2
        columns = n_out if rows > 1 or layer < network.n_layers - 1 else int(entry[at.N_IN])
        for first in range(0, rows, step):
            end = min(first + step, rows)
            pieces.append(((end - first) * padded(columns), layer, first, end))
    total = sum(work for work, *_ in pieces)
    segments: list[list[int]] = []
    done = 0
    for work, layer, first, end in pieces:
        unit = min(n_units - 1, (2 * done + work) * n_units // (2 * total))
        done += work
        if segments and segments[-1][:2] == [unit, layer]:
            segments[-1][3] = end
        else:
            segments.append([unit, layer, first, end])
    return np.array(segments, np.int64)
