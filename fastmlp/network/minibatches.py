"""What a session trains on, and the memory in which it goes through minibatches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.buffers import Buffers, Table
from fastmlp.network.layout import Layout, aligned_zeros, padded
from fastmlp.network.minibatch import Update, training_program
from fastmlp.network.plan import GRADIENT_ROWS, SLOW, TRAINING_PRODUCTS, Plan
from fastmlp.network.program import Bound
from fastmlp.runtime.pace import Pace


@dataclass(frozen=True)
class Batches:
    """How the rows of an epoch fall into minibatches.

    Attributes
    ----------
    sizes : ndarray of int64 of shape (n_batches,)
        Rows of each.
    used : ndarray of int64
        Numbers of those that are trained on: the others have weights of 0 only.
    scales : ndarray of float64 of shape (n_batches,)
        1 / Σ weights, or 0.
    updates : ndarray of int64 of shape (n_batches,)
        Updates made when each has been trained on.
    n_rows : int
        Rows of those that are trained on.
    """

    sizes: np.ndarray
    used: np.ndarray
    scales: np.ndarray
    updates: np.ndarray
    n_rows: int

    @classmethod
    def of(cls, n_rows: int, starts: np.ndarray, totals: np.ndarray) -> Batches:
        """Minibatches that begin at these positions, and have these Σ weights."""
        sizes = np.diff(starts, append=n_rows)
        used = np.flatnonzero(totals > 0)
        scales = np.zeros(len(starts))
        scales[used] = 1.0 / totals[used]
        return cls(sizes, used, scales, np.cumsum(totals > 0), int(sizes[used].sum()))


@lru_cache(maxsize=4)
def _batches_of_rows(n_rows: int, batch_size: int) -> Batches:
    """Minibatches of rows without weights: the same in each epoch."""
    starts = np.arange(0, n_rows, batch_size)
    return Batches.of(n_rows, starts, np.diff(starts, append=n_rows).astype(np.float64))


@dataclass(frozen=True)
class Data:
    """Rows to train on, as `data_of` checks and scales them.

    Attributes
    ----------
    rows : Rows
        X.
    targets : ndarray of bool of shape (n_samples,)
        y.
    weight : ndarray of float64 of shape (n_samples,), or None
        Weights of the rows, divided by 2 to the power of `exponent`.
    exponent : int
    """

    rows: Rows
    targets: np.ndarray
    weight: np.ndarray | None
    exponent: int

    @property
    def total_weight(self) -> float:
        """Σ weights."""
        return self.rows.n_samples if self.weight is None else float(self.weight.sum())

    def scaled(self, alpha: float) -> float:
        """alpha · 2^(−exponent): as strong beside these weights as alpha beside the given ones."""
        return float(np.ldexp(alpha, -self.exponent))

    def batches(self, order: np.ndarray, batch_size: int) -> Batches:
        """The minibatches that rows in this order fall into.

        A network of members has its rows in the order as often as it has members.
        """
        if self.weight is None:
            return _batches_of_rows(len(order), batch_size)
        starts = np.arange(0, len(order), batch_size)
        totals = np.add.reduceat(self.weight[order], starts, dtype=np.float64)
        return Batches.of(len(order), starts, totals)

    def most_entries(self, batch_size: int) -> int:
        """Entries of a sparse X in a minibatch at most, whatever the order of the rows."""
        entries = np.diff(self.rows.csr[1])
        if len(entries) > batch_size:
            entries = np.partition(entries, len(entries) - batch_size)[-batch_size:]
        return int(entries.sum())


def data_of(rows: Rows, targets: np.ndarray, sample_weight: np.ndarray | None) -> Data:
    """Rows to train on.

    Weights and alpha times a power of two train the same network to the last bit. So the largest
    weight is brought near 1: none overflows in float32. One that is too small beside it for the
    network's dtype counts as 0, so that 1 / Σ weights does not overflow either.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    for name, array in (("targets", targets), ("sample_weight", sample_weight)):
        if array is not None and np.shape(array) != (rows.n_samples,):
            raise ValueError(f"{name} must have shape ({rows.n_samples},).")
    targets, exponent = np.require(targets, np.bool_, ("C", "A")), 0
    if sample_weight is not None:
        exponent = int(np.frexp(sample_weight.max(initial=0.0))[1])
        sample_weight = np.ldexp(sample_weight.astype(np.float64, copy=False), -exponent)
        # The reciprocal of a smaller one is infinite.
        sample_weight[sample_weight < np.finfo(rows.values.dtype).tiny] = 0
    return Data(rows, targets, sample_weight, exponent)


def checked_order(order: np.ndarray, rows: Rows) -> np.ndarray:
    """Row numbers as the kernels read them: none outside X, so that nothing is read there.

    Raises
    ------
    ValueError
        If there is one.
    """
    order = np.require(order, np.int64, ("C", "A", "E", "W"))
    if order.size and (order.min() < 0 or order.max() >= rows.n_samples):
        raise ValueError("order names rows that X does not have.")
    return order


@dataclass
class Minibatches:
    """The program of a minibatch, and all memory that it works in.

    Attributes
    ----------
    plan : Plan
        How a minibatch is shared.
    bound : Bound
        The program.
    memory : dict
        What its addresses point to.
    pace : Pace
        How long calls are, and how many threads they have.
    seconds : float
        What a minibatch takes: at most, before one has been timed.
    """

    plan: Plan
    bound: Bound
    memory: dict[str, Any]
    pace: Pace
    seconds: float

    def begin_epoch(self, order: np.ndarray, *, seed: int = 0, **by_batch: np.ndarray) -> None:
        """Tell the pieces about the minibatches that come.

        seed, by_batch : fields of `kernels.epoch.EPOCH`; regularisation needs more than the first
        three of the arrays
        """
        self.memory.update(order=order, **by_batch)
        sizes = len(order), self.plan.batch_size, self.plan.block_rows
        addresses = (
            by_batch[name].ctypes.data if name in by_batch else 0
            for name in ("rates", "scales", "losses", "updates", "keeps", "shares")
        )
        self.bound.write("epoch", (order.ctypes.data, *sizes, *addresses, seed))


def minibatches(
    layout: Layout, data: Data, plan: Plan, update: Update, parameters: dict[str, np.ndarray]
) -> Minibatches:
    """Make the program of a minibatch, and its buffers.

    Parameters
    ----------
    layout : Layout
        Of the weights.
    data : Data
        What to train on.
    plan : Plan
        How a minibatch is shared.
    update : Update
        What becomes of gradients.
    parameters : dict of str to ndarray
        Weights, moments and what is derived from them, by the names that `layers` has for them.
    """
    network = layout.network
    program, sizes = training_program(layout, data.rows.source, plan, update)
    memory = {**parameters, **_buffers(sizes, network.dtype), "targets": data.targets}
    memory["zeros"] = aligned_zeros(padded(max(network.widths)), network.dtype)
    if network.encoder is not None:
        memory["gradients"] = aligned_zeros(layout.size, network.dtype)
    if update.clips:
        memory["gradients"] = aligned_zeros(layout.size, network.dtype)
        memory["gradient_squares"] = np.zeros(sum(layout.stored_rows) + network.n_layers)
    if data.weight is not None:
        memory["sample_weight"] = data.weight
    if layout.sparse:
        slots = (padded(network.widths[0]) + GRADIENT_ROWS) // PANEL
        memory["begins"], memory["ends"] = np.zeros((2, slots), np.int64)
        memory["entries"] = np.zeros((data.most_entries(plan.batch_size), 2), np.int64)
    addresses = {name: array.ctypes.data for name, array in memory.items()}
    absent = {"sample_weight": 0, "gradients": 0}
    bound = program.bind({**absent, **addresses, **data.rows.values_of_refs()})
    work = TRAINING_PRODUCTS * plan.batch_size * network.multiply_adds
    everything = {**memory, "program": bound.words, "x": data.rows.memory()}
    return Minibatches(plan, bound, everything, Pace(plan.n_threads), work / SLOW)


def _buffers(sizes: Buffers, dtype: np.dtype[Any]) -> dict[str, np.ndarray]:
    """What a minibatch passes through."""
    of_rows = ("logits", "target", "weight", "output_delta", "loss")
    buffers = {
        **{name: aligned_zeros(sizes.rows, dtype) for name in of_rows},
        "activations": aligned_zeros(sizes.activations, dtype),
        "deltas": aligned_zeros(sizes.deltas, dtype),
        "rooms": aligned_zeros(sizes.rooms, dtype),
        "blocks": aligned_zeros(sizes.blocks, dtype),
        "one": np.ones(1, dtype),
        **Table.buffers(sizes.table, dtype),
    }
    buffers["weight"][:] = 1  # stays, unless rows have weights
    return buffers
