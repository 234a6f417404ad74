"""What is trained: six networks of very different sizes, each on data of its own."""

from dataclasses import dataclass
from itertools import pairwise

#: Rows beside the training rows, for AUC and log loss.
N_TEST = 5_000

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Work:
    """A network, the shape of its data, and how many epochs of minibatches to train.

    Attributes
    ----------
    name : str
        How tables and the dashboard call it.
    n_samples, n_features : int
        Shape of the training data.
    hidden : tuple of int
        Widths of the hidden layers.
    batch_size : int
        Rows of a minibatch.
    epochs : int
        Enough of them for a fit to take long beside its fixed costs.
    """

    name: str
    n_samples: int
    n_features: int
    hidden: tuple[int, ...]
    batch_size: int
    epochs: int

    @property
    def shapes(self):
        """(inputs, outputs) of each layer."""
        return list(pairwise((self.n_features, *self.hidden, 1)))

    @property
    def gflop(self):
        """Operations of all matrix products of a fit, in 10⁹.

        A layer takes three products (forward, δ recursion, gradient) of 2·inputs·outputs
        operations a row; the first has no δ recursion.
        """
        per_row = sum(
            2 * n_in * n_out * (2 if layer == 0 else 3)
            for layer, (n_in, n_out) in enumerate(self.shapes)
        )
        return per_row * self.n_samples * self.epochs / 1e9

    def data(self, dtype):
        """X, y to train on and X, y to test on, the same in every run.

        Parameters
        ----------
        dtype : str or numpy.dtype
            Of X.
        """
        from sklearn.datasets import make_classification

        X, y = make_classification(
            self.n_samples + N_TEST,
            self.n_features,
            n_informative=self.n_features // 2,
            random_state=0,
        )
        X = X.astype(dtype, copy=False)
        n = self.n_samples
        return X[:n], y[:n], X[n:], y[n:]


PANEL = (
    Work("default", 10_000, 20, (100,), batch_size=200, epochs=10),
    Work("tiny_batch", 10_000, 20, (32,), batch_size=32, epochs=5),
    Work("two_layer", 20_000, 50, (64, 64), batch_size=128, epochs=4),
    Work("wide", 20_000, 100, (256, 256), batch_size=256, epochs=2),
    Work("deep", 20_000, 28, (300, 300, 300), batch_size=1024, epochs=2),
    Work("huge", 8_000, 512, (1024, 1024), batch_size=512, epochs=1),
)

WORKS = {work.name: work for work in PANEL}
