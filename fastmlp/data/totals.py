"""What a first pass over rows finds: their labels, and what the classes count for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.chunks import Chunk
from fastmlp.data.class_weights import weighted
from fastmlp.data.labels import labels_of

Array = NDArray[Any]


class Labels:
    """The labels of rows that come in chunks.

    A code says which label a row has, in the order in which they came up: which is the last of two
    is known only at the end.

    Parameters
    ----------
    known : ndarray, optional
        The labels that there may be; by default any two.
    """

    def __init__(self, known: Array | None = None) -> None:
        self._known, self._found = known, [] if known is None else list(known)
        self._dtype = None if known is None else known.dtype
        self.seen = np.zeros(len(self._found), np.bool_)

    def codes(self, chunk: Chunk) -> NDArray[np.bool_]:
        """Codes of a chunk's labels.

        Raises
        ------
        ValueError, TypeError
            With the place, if there is a third label, one that is not known or one that is none.
        """
        y = chunk.y
        while True:
            is_known = [_equal(y, label) for label in self._found]
            self.seen |= np.array([each.any() for each in is_known], np.bool_)
            right = np.any(is_known, axis=0) if is_known else np.zeros(len(y), np.bool_)
            if right.all():
                return is_known[1] if len(is_known) > 1 else np.zeros(len(y), np.bool_)
            self._add(chunk, int(np.argmin(right)))

    def _add(self, chunk: Chunk, row: int) -> None:
        label, place = chunk.y[row], chunk.place(row)
        shown = _plain(label)
        if self._known is not None:
            raise ValueError(
                f"{place}: the label {shown!r} is not among the classes {self._known}."
            )
        labels = [*self._found, label]
        try:
            self._check(labels, chunk.y.dtype)
        except (TypeError, ValueError) as error:
            before = f" (beside {[_plain(each) for each in self._found]})" if self._found else ""
            raise type(error)(f"{place}, label {shown!r}{before}: {error}") from error
        self._found, self.seen = labels, np.append(self.seen, np.False_)

    def _check(self, labels: list[Any], dtype: np.dtype[Any]) -> Array:
        """Labels as `fit` finds them in an array of this dtype."""
        if self._dtype is None:
            self._dtype = dtype
        # A list of labels that differ in type would become strings.
        is_one_type = self._dtype.kind != "O" and dtype.kind == self._dtype.kind
        y = np.array(labels, None if is_one_type else object)
        return labels_of(y)[1]

    def classes(self) -> tuple[Array, bool]:
        """The classes, sorted, and whether code 1 stands for the first of them."""
        if self._known is not None:
            return self._known, False
        assert self._dtype is not None
        classes = self._check(self._found, self._dtype)
        if self._dtype.kind not in "OU":
            classes = classes.astype(self._dtype.newbyteorder("="), copy=False)
        return classes, len(classes) > 1 and bool(classes[0] == self._found[1])

    def present(self) -> Array:
        """Those of the classes that rows have."""
        classes, swapped = self.classes()
        return classes[self.seen[::-1] if swapped else self.seen]


def _plain(label: Any) -> Any:
    """Take a number or a string of NumPy as Python's own, which a message shows as such."""
    return label.item() if isinstance(label, np.generic) else label


def _equal(y: Array, label: Any) -> NDArray[np.bool_]:
    return np.broadcast_to(np.asarray(y == label, np.bool_), y.shape)


class Totals:
    """Of the rows of each code: how many there are, what they weigh, and the largest weight."""

    def __init__(self) -> None:
        self.counts, self.positive = np.zeros(2, np.int64), np.zeros(2, np.int64)
        self.sums, self.largest = np.zeros(2), np.zeros(2)

    def add(self, codes: NDArray[np.bool_], weight: NDArray[np.float64] | None) -> None:
        """Take some rows into account."""
        counts = np.bincount(codes, minlength=2)
        self.counts += counts
        if weight is None:
            self.positive += counts
            self.sums, self.largest = (
                self.counts.astype(np.float64),
                np.sign(self.counts).astype(np.float64),
            )
            return
        self.positive += np.bincount(codes[weight > 0], minlength=2)
        # The sums so far go first: one addition after the other, wherever chunks begin.
        codes_of_sums = np.concatenate([[0, 1], codes])
        self.sums = np.bincount(codes_of_sums, np.concatenate([self.sums, weight])).astype(float)
        for code in (0, 1):
            self.largest[code] = weight[codes == code].max(initial=self.largest[code])

    def swap(self) -> None:
        """Let the codes change places."""
        for name in ("counts", "positive", "sums", "largest"):
            setattr(self, name, getattr(self, name)[::-1])

    def check(self, by_class: NDArray[np.float64] | None) -> None:
        """Check that rows have a weight, with that of their class; see `weighted`."""
        if not self.largest.any():
            raise ValueError("sample_weight must contain at least one non-zero number.")
        if by_class is not None:
            n = len(by_class)
            weighted(self.largest[:n], np.arange(n).astype(np.bool_), by_class)
