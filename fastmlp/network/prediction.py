"""Applying a network to rows: blocks of them, each through the forward pass in one thread."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.network.buffers import Table
from fastmlp.network.layers import prediction_program
from fastmlp.network.layout import Layout, Network, address_of, aligned_parts, padded
from fastmlp.network.minibatches import checked_order
from fastmlp.network.plan import LONG_SECONDS, SLOW, plan_prediction
from fastmlp.network.program import Program
from fastmlp.runtime.call import Call

#: What records of a layer can name, and a prediction has no use for.
_ABSENT = {"entries": 0, "begins": 0, "ends": 0, "gradients": 0}


def predict(
    layout: Layout,
    parameters: np.ndarray,
    rows: Rows,
    order: np.ndarray | None,
    most_threads: int,
    *,
    probabilities: bool,
    encoding: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """Logits or probabilities of rows.

    Parameters
    ----------
    layout, parameters : Layout, ndarray
        Of the network.
    rows : Rows
        X.
    order : ndarray of int64, or None
        Which of the rows; None for all.
    most_threads : int
        Threads that may take part.
    probabilities : bool
        Whether to return 1 − ŷ and ŷ, of shape (n, 2), or z⁽ᴸ⁾, of shape (n,).
    encoding : mapping, optional
        Arrays of an encoder, by name.
    """
    network, dtype = layout.network, layout.network.dtype
    if network.encoder is not None and not probabilities:
        raise ValueError("A network of members has probabilities, whose mean it takes, alone.")
    check_columns(network, rows)
    n = rows.n_samples if order is None else len(order)
    result = np.empty((n, 2) if probabilities else n, dtype)
    if n == 0:
        return result
    block, n_blocks, n_threads = plan_prediction(network, n, most_threads)
    program, sizes, sizes_of_table = prediction_program(
        layout, rows.source, block, n_threads, probabilities=probabilities
    )
    of_rows = n_threads * padded(block)
    memory = {
        "parameters": parameters,
        **aligned_parts({**sizes, "logits": of_rows, "complement": of_rows}, dtype),
        **Table.buffers(sizes_of_table, dtype),
        **(encoding or {}),
        "result": result,
    }
    if network.members > 1:
        # A row of X is as many rows of the program as there are members.
        order = np.arange(n) if order is None else order
        order, n = np.repeat(order, network.members), n * network.members
    by_blocks(program, memory, rows, order, (n, block, n_blocks, n_threads), network.multiply_adds)
    return result


def check_columns(network: Network, rows: Rows) -> None:
    """ValueError unless these are rows that a network can read."""
    if rows.n_features != network.n_features:
        raise ValueError(
            f"X has {rows.n_features} features, but the network expects {network.n_features} "
            "features as input."
        )
    if network.encoder is not None and (rows.source is None or rows.source.kind != "f"):
        raise ValueError("An encoder reads a dense X of floating-point numbers.")


def by_blocks(
    program: Program,
    memory: dict[str, np.ndarray],
    rows: Rows,
    order: np.ndarray | None,
    sizes: tuple[int, int, int, int],
    multiply_adds: int,
) -> None:
    """Take rows through a program, each block in one thread.

    Parameters
    ----------
    program : Program
        Of one phase.
    memory : dict of str to ndarray
        Parameters, buffers and the result, by the names that its records have for them.
    rows, order : Rows, ndarray or None
        As of `predict`.
    sizes : tuple of (rows, rows of a block, blocks, threads)
    multiply_adds : int
        What a row costs.
    """
    n, block, n_blocks, n_threads = sizes
    addresses = {name: address_of(array) for name, array in memory.items()}
    bound = program.bind({**_ABSENT, **addresses, **rows.values_of_refs()})
    address = 0
    if order is not None:
        memory["order"] = order = checked_order(order, rows)
        address = order.ctypes.data
    bound.write("epoch", (address, n, block, block))
    call = Call(
        (memory, bound.words, rows.memory()), n_threads, np.arange(n_blocks), **bound.fields,
        n_rows=n, batch_size=block, slots=n_threads,
    )  # fmt: skip
    try:
        call.run(stoppable=n * multiply_adds > LONG_SECONDS * SLOW)
    finally:
        # X is the user's, who may do anything with its memory from here on. Where an exception cuts
        # this wait short, too, threads hold all that they read and write.
        call.leave()
