"""How a table of so many rows is learned without tuning: sizes and rates, and what chose them.

Chosen on eight tables of up to 10,000 rows, by the log loss of rows held out within the training
rows (the first number; the second is that of test rows), each the mean over the tables of one
network of five. Differences below 0.001 are noise.

    as it is                                              .3069   .3108
    no average of the weights: the best epoch's           .3100   .3156
    one member in place of eight                          .3157   .3222
    numbers embedded as lines, without bins               .3101   .3146
    no decay of the weights                               .3078   .3125
    Adam's second moment over 1000 updates, not 20        .3071   .3113
    embeddings that learn as fast as the rest             .3076   .3119
    one layer; three                                      .3100, .3074   .3162, .3124
    rare levels with an embedding of their own            .3068   .3108

Around it, with dropout of .1, which is noise too (.3060, .3118), and bins of four rows:

    a rate on a cosine over 20 epochs, no average         .3132   .3185
    a rate of .005; of .02                                .3079, .3089   .3131, .3133
    an average over 50 updates; over 200                  .3066, .3070   .3122, .3118
    4 members; 16                                         .3076, .3069   .3148, .3111
    embeddings of 16 numbers, not 8                       .3076   .3120
    layers of 96                                          .3091   .3122
    dropout of .2                                         .3079   .3133
    96 bins                                               .3093   .3131
    minibatches of 128; of 512                            .3070, .3097   .3121, .3131
    silu in place of relu                                 .3052   .3122
    embeddings that end in relu                           .3186   .3233
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer
from fastmlp.training.encoding import Embeddings


@dataclass(frozen=True)
class Recipe:
    """How networks for a table are trained.

    The learning rate stays, and the model is an average of the weights over the updates: so
    training can end wherever the rows held out say, and does not need to know its end ahead.

    Attributes
    ----------
    n_folds : int
        Networks, each of which holds out another part of the rows.
    held_out : float
        The share of the rows that is held out where there is one network.
    most_epochs : int
        Epochs at most.
    patience : int
        Training ends where more than so many epochs in a row have not had the best score.
    minibatches_of_epoch : int
        Minibatches of an epoch at most: of a large table, an epoch is a part of the rows.
    batch_size : int
        Rows of a minibatch.
    learning_rate : float
        Of all updates.
    hidden : tuple of int
        Units of the hidden layers.
    optimizer : Optimizer
        Which update is made.
    regularisation : Regularisation
        Decay, and the average of the weights.
    embeddings : Embeddings
        Of the columns.
    """

    n_folds: int
    held_out: float
    most_epochs: int
    patience: int
    minibatches_of_epoch: int
    batch_size: int
    learning_rate: float
    hidden: tuple[int, ...]
    optimizer: Optimizer
    regularisation: Regularisation
    embeddings: Embeddings


#: Rows to hold out at most, where there is one network. They are predicted after each epoch, which
#: has 51,200 rows at most: with 150,000 of 3 million held out, it took 1.35 times as long.
MOST_HELD_OUT = 50_000


def recipe_for(n_rows: int) -> Recipe:
    """The recipe for a table of so many rows."""
    hidden = (128, 128)
    n_folds = 5 if n_rows < 30_000 else 3 if n_rows < 200_000 else 1
    held_out = 0.2 if n_rows < 10_000 else 0.1 if n_rows < 100_000 else 0.05
    held_out = min(held_out, MOST_HELD_OUT / max(1, n_rows))
    n_bins = min(48, max(8, n_rows // 64))
    batch_size = min(256, max(32, 2 ** round(math.log2(max(1, n_rows) / 40))))
    return Recipe(
        n_folds=n_folds,
        held_out=held_out,
        most_epochs=100,
        patience=4,
        minibatches_of_epoch=200,
        batch_size=batch_size,
        learning_rate=0.01,
        hidden=hidden,
        optimizer=Optimizer(beta_2=0.95, encoder_speed=2.0),
        regularisation=Regularisation(weight_decay=0.01, ema_decay=0.99),
        embeddings=Embeddings(members=8, width=8, n_bins=n_bins, rows_of_bin=8, rows_of_level=5),
    )
