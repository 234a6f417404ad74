"""How a table of so many rows is learned without tuning: sizes and rates, and what chose them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastmlp.training.encoding import Embeddings

#: Updates that a network is trained for, at most and at least, and rows of a minibatch.
_UPDATES = 640
_LEAST_EPOCHS, _MOST_EPOCHS = 4, 40


@dataclass(frozen=True)
class Recipe:
    """How networks for a table are trained.

    Attributes
    ----------
    n_folds : int
        Networks, each of which holds out another part of the rows.
    held_out : float
        The share of the rows that is held out where there is one network.
    n_epochs : int
        Passes over the training rows, along which the learning rate falls to 0.
    batch_size : int
        Rows of a minibatch.
    learning_rate : float
        Of the first update.
    hidden : tuple of int
        Units of the hidden layers.
    dropout : float
        Share of the hidden units that an update leaves out.
    weight_decay : float
        See `network.regularisation.Regularisation`.
    beta_2 : float
        Of Adam.
    encoder_speed : float
        What the learning rate of embeddings is multiplied by.
    embeddings : Embeddings
        Of the columns.
    """

    n_folds: int
    held_out: float
    n_epochs: int
    batch_size: int
    learning_rate: float
    hidden: tuple[int, ...]
    dropout: float
    weight_decay: float
    beta_2: float
    encoder_speed: float
    embeddings: Embeddings


def recipe_for(n_rows: int) -> Recipe:
    """The recipe for a table of so many rows."""
    n_folds = 5 if n_rows < 30_000 else 3 if n_rows < 200_000 else 1
    held_out = 0.2 if n_rows < 10_000 else 0.1 if n_rows < 100_000 else 0.05
    batch_size = min(512, max(32, 2 ** round(math.log2(max(1, n_rows) / 40))))
    batch_size = min(256, batch_size) if n_rows < 50_000 else batch_size
    n_epochs = math.ceil(_UPDATES * batch_size / n_rows)
    n_epochs = min(_MOST_EPOCHS, max(_LEAST_EPOCHS, n_epochs))
    return Recipe(
        n_folds=n_folds,
        held_out=held_out,
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate=0.02,
        hidden=(128, 128),
        dropout=0.1,
        weight_decay=3e-4,
        beta_2=0.95,
        encoder_speed=1.0,
        embeddings=Embeddings(
            members=4, width=8, n_bins=48, rows_of_bin=4, rows_of_level=5
        ),
    )  # fmt: skip
