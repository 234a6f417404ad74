"""Sources of arrays in chunks, for streaming."""

from fastmlp import streaming


def in_chunks(*arrays, rows=700):
    """A source of the arrays in chunks of so many rows."""

    def chunks():
        for first in range(0, len(arrays[0]), rows):
            yield tuple(array[first : first + rows] for array in arrays)

    return chunks


def streamed(model, *arrays, memory, rows=700, **arguments):
    """A model that has been trained on arrays in chunks."""
    return streaming.fit(
        model, in_chunks(*arrays, rows=rows), target=None, memory=memory, **arguments
    )
