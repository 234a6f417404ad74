"""Positions in the integer arrays that kernels read: the network's table, settings, addresses."""

# One row of `Network.table`, a layer; offsets and strides in elements.
N_IN, N_OUT = 0, 1
INPUT_STRIDE = 2  # of the activations a⁽ˡ⁻¹⁾ and of δ⁽ˡ⁻¹⁾
WEIGHTS, STRIDE, ROWS = 3, 4, 5  # the matrix within the flat parameters, as stored
BIAS = 6
TRANSPOSED, TRANSPOSED_STRIDE = 7, 8  # Wᵀ within the transposed copies; −1: the matrix itself
ACTIVATION = 9
FIRST_ROW = 10  # of this layer among the rows of all matrices
INPUT = 11  # a⁽ˡ⁻¹⁾ within the buffer of activations, δ⁽ˡ⁻¹⁾ within that of deltas
BLOCK_GRADIENT = 12  # a block of gradients, then the bias's, within a weight unit's room for them
COUNT = 13

# `settings` of a compiled call.
(
    MODE,
    N_BATCHES,
    BATCH_SIZE,
    N_ROWS,
    ROW_UNITS,
    UNIT_ROWS,
    BLOCK_ROWS,
    WEIGHT_UNITS,
    OPTIMIZER,
    SIZE,  # bytes of one number of the network: 4 or 8
    SCRATCH_UNITS,  # of rows, or threads of a prediction: one scratch each
    SCRATCH_ROW,  # numbers of one of its arrays
    GRADIENT_SIZE,  # numbers of a weight unit's room for gradients
    N_SETTINGS,
) = range(14)

# `MODE`: what a call does with its rows.
TRAIN, GRADIENT, LOGITS, PROBABILITIES = range(4)

# What a unit of rows has of each in its scratch, `SCRATCH_ROW` numbers apart: arrays of the output
# layer. A prediction keeps its probabilities of 1 and of 0 in the first two.
LOGIT, TARGET, WEIGHT, DELTA, LOSS, N_SCRATCH = range(6)

# `places`: addresses of the buffers, as int64. Numbers are of the network's type, but for X, whose
# type `X_TYPE` is the code of, the targets (bool) and the weights of rows (float64; 0: all are 1).
(
    PARAMETERS,
    GRADIENTS,  # of all parameters, where a call ends with them
    BLOCK_GRADIENTS,  # where they are applied at once
    MOMENT_1,
    MOMENT_2,
    TRANSPOSES,
    ACTIVATIONS,
    DELTAS,
    ZEROS,
    ONE,
    X,
    X_ROW,
    X_COLUMN,
    X_TYPE,
    VALUES,  # of a sparse X
    TARGETS,
    SAMPLE_WEIGHT,
    SCRATCH,
    OUTPUT_DELTA,
    ROW_LOSS,
    RESULT,
    N_PLACES,
) = range(22)
