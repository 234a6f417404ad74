"""How a logit changes with the input: the δ recursion carried down to layer 0 (N8).

With δ⁽ᴸ⁾ = ∂z⁽ᴸ⁾/∂z⁽ᴸ⁾ = 1 in place of the loss's, the recursion ends in δ⁽⁰⁾ = W⁽¹⁾ᵀ δ⁽¹⁾. That is
∂z⁽ᴸ⁾/∂x, because a⁽⁰⁾ = x has no g.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.kernels import layer as dense
from fastmlp.network.buffers import Activations, column
from fastmlp.network.layers import NetworkRecords
from fastmlp.network.layout import (
    Layout,
    Place,
    aligned_zeros,
    copy_transposed,
    in_panels,
    padded,
)
from fastmlp.network.plan import plan_prediction
from fastmlp.network.prediction import by_blocks
from fastmlp.network.program import Program, Record, Ref, Segment, Step


def input_gradient(
    layout: Layout, parameters: np.ndarray, rows: Rows, most_threads: int
) -> np.ndarray:
    """∂z⁽ᴸ⁾/∂x of all rows, of shape (n, n_features).

    Parameters
    ----------
    layout, parameters : Layout, ndarray
        Of the network.
    rows : Rows
        X.
    most_threads : int
        Threads that may take part.
    """
    network, dtype = layout.network, layout.network.dtype
    n = rows.n_samples
    result = np.empty((n, network.widths[0]), dtype)
    if n == 0:
        return result
    block, n_blocks, n_threads = plan_prediction(network, n, most_threads)
    program, size = _program(layout, rows.source, block, n_threads)
    places, size_of_copies = _copies(layout)
    copies = aligned_zeros(size_of_copies, dtype)
    for matrix, place in zip(layout.views(parameters)[0], places, strict=False):
        copy_transposed(matrix, place, copies)
    memory = {
        "parameters": parameters,
        "copies": copies,
        "activations": aligned_zeros(size, dtype),
        "deltas": aligned_zeros(size, dtype),
        "logits": aligned_zeros(n_threads * padded(block), dtype),
        "ones": np.ones(block, dtype),
        "zeros": aligned_zeros(padded(max(network.widths)), dtype),
        "result": result,
    }
    # Forward and back: twice the products of a prediction.
    by_blocks(
        program, memory, rows, None, (n, block, n_blocks, n_threads), 2 * network.multiply_adds
    )
    return result


def _copies(layout: Layout) -> tuple[list[Place], int]:
    """Places of Wᵀ of all layers but the last, and the size of their buffer."""
    places: list[Place] = []
    size = 0
    for n_in, n_out in layout.network.shapes()[:-1]:
        places.append(in_panels(size, n_out, n_in, layout.network.dtype))
        size += places[-1].size
    return places, size


@lru_cache(maxsize=32)
def _program(
    layout: Layout, source: np.dtype[Any] | None, block: int, n_slots: int
) -> tuple[Program, int]:
    """Forward pass, δ recursion to layer 0, and the size of activations and of deltas."""
    rows = Activations(layout, block, n_slots, with_input=True)
    net = NetworkRecords(layout, source, rows)
    kind, logits = net.dtype.name, column("logits", net.dtype, block=padded(block))
    copies: list[Place | None] = [*_copies(layout)[0], None]
    records = [
        net.layer_record(
            layer,
            {
                **net.forward_fields(layer, logits),
                **net.backward_fields(layer, copy),
                "output_delta": {kind: Ref("ones")},
                "zeros": net.zeros(),
            },
        )
        for layer, copy in enumerate(copies)
    ]
    steps = net.forward_steps(records)
    for layer in range(net.last, -1, -1):
        steps += net.backward_steps(records, layer)
    sensitivity = {
        "delta": rows.matrix("deltas", 0),
        "n_features": net.network.widths[0],
        "result": {kind: Ref("result")},
        "epoch": net.epoch_ref,
    }
    record = Record(dense.sensitivity_record(kind), sensitivity)
    steps.append(Step(dense.write_sensitivity, record))
    segment = Segment(tuple(steps), 0, block, block, of_rows=True)
    return net.writer.finish([[[segment]]], waits=False), rows.size
