"""What the pieces of a step know of the rows they work on: one record, read by all of them."""

import numpy as np

from fastmlp.runtime.jit import kernel
from fastmlp.runtime.records import number, numbers, record_at

#: Fields
#: ------
#: order : row numbers in the order of training; address 0 is the rows as they are
#: n_rows, batch_size : length of the order, and rows of a minibatch
#: block_rows : rows of a block of the buffers
#: rates, scales : learning rate and 1 / Σ weights of each minibatch
#: losses : sum of the weighted losses of each minibatch, and ‖W‖² before its update; written
#: updates : number of the update that each minibatch makes, from 1; what follows is for
#:     regularisation, and address 0 without it
#: keeps : what is left of the weights by their decay
#: shares : of the newest weights in their average
#: seed : of dropout
EPOCH = np.dtype(
    [
        ("order", numbers("int64")),
        ("n_rows", np.int64),
        ("batch_size", np.int64),
        ("block_rows", np.int64),
        ("rates", numbers("float64")),
        ("scales", numbers("float64")),
        ("losses", numbers("float64")),
        ("updates", numbers("int64")),
        ("keeps", numbers("float64")),
        ("shares", numbers("float64")),
        ("seed", np.int64),
    ]
)

#: epoch_at(address): the record there. Other records name it by its address.
epoch_at = record_at(EPOCH)


@kernel
def row_number(epoch, position):
    """Number of the row of X at a position of the order."""
    if epoch.order.int64 == 0:
        return position
    return number(epoch.order, position)


@kernel
def rows_of(epoch, batch):
    """Rows of a minibatch; the last one may be ragged."""
    return min(epoch.batch_size, epoch.n_rows - batch * epoch.batch_size)
