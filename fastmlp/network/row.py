"""Applying a network to one row from compiled code: a prediction's program that can be copied."""

from __future__ import annotations

import numpy as np

from fastmlp.network.buffers import Activations
from fastmlp.network.layers import prediction_program
from fastmlp.network.layout import Network, Parameters, aligned_zeros, layout_of, padded
from fastmlp.runtime import row
from fastmlp.runtime.cpu import CACHE_LINE

_WORD = 8


def row_memory(network: Network, parameters: Parameters) -> np.ndarray:
    """All that a call for one row reads: a `runtime.row.ROW`, the program, and the weights.

    The steps are those of `prediction.predict`, and so are the bits that come out.

    Parameters
    ----------
    network : Network
        Widths, activations and dtype.
    parameters : (coefs, intercepts)
        The weights and biases, which are copied.

    Returns
    -------
    ndarray of int64
        It holds addresses within itself, and must stay where it is.
    """
    layout, dtype = layout_of(network, False), network.dtype
    program, sizes, _ = prediction_program(layout, None, 1, 1, probabilities=True)
    begin = _lines(program.n_words * _WORD)
    moving = {}
    for name, count in (
        *sizes.items(),
        ("logits", padded(1)),
        ("complement", padded(1)),
        ("result", 2),
    ):
        moving[name], begin = begin, begin + _lines(count * dtype.itemsize)
    x = Activations(layout, 1, 1).matrix("activations", 0)[dtype.name]

    # Behind the header: the weights, the program, and its places, each from a cache line on.
    start = _lines(row.ROW.itemsize)
    start_of_words = start + _lines(layout.size * dtype.itemsize)
    n_places = program.movable({"parameters": 0}, moving)[1].size
    start_of_places = start_of_words + _lines(program.n_words * _WORD)
    memory = aligned_zeros(start_of_places // _WORD + n_places, np.dtype(np.int64))
    here = memory.ctypes.data
    words, places = program.movable({"parameters": here + start}, moving)
    epoch = program.words_of("epoch").start
    words[epoch : epoch + 4] = (0, 1, 1, 1)  # no order, one row in one minibatch of one block
    steps = program.words_of("steps")

    weights = memory[start // _WORD : start_of_words // _WORD].view(dtype)
    layout.pack(parameters, weights[: layout.size])
    memory[start_of_words // _WORD :][: words.size] = words
    memory[start_of_places // _WORD :] = places
    header = {
        "run": row.address(),
        "n_features": network.widths[0],
        "scratch": (begin + CACHE_LINE) // _WORD,
        "x": moving[x.name] + x.offset,
        "result": moving["result"],
        "words": here + start_of_words,
        "n_words": words.size,
        "places": here + start_of_places,
        "n_places": places.size,
        "step": steps.start,
        "n_steps": (steps.stop - steps.start) // 2,
    }
    memory[: len(header)] = [header[name] for name in row.ROW.names or ()]
    return memory


def _lines(size: int) -> int:
    """Bytes, rounded up to whole cache lines."""
    return -(-size // CACHE_LINE) * CACHE_LINE
