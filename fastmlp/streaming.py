"""Training on rows that need not fit into memory: Parquet files, datasets, and chunks of any kind.

    from fastmlp import MLPBinaryClassifier, streaming

    model = MLPBinaryClassifier((100, 50), batch_size=500)
    streaming.fit(model, "rows/*.parquet", target="bought")

Parquet files and datasets need pyarrow (``pip install "fastmlp[parquet]"``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any, TypeVar

from sklearn import get_config
from sklearn.pipeline import Pipeline

from fastmlp.data.chunks import Source, Wanted, source_of
from fastmlp.data.sink import chunk_bytes
from fastmlp.estimators import streamed, streamed_tables, transformed
from fastmlp.estimators.classifier import MLPBinaryClassifier
from fastmlp.estimators.first_pass import Streams
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.tabular import TabularMLPBinaryClassifier

__all__ = ["fit"]

Model = TypeVar("Model")


def fit(
    model: Model,
    source: Any,
    *,
    target: str | None,
    sample_weight: str | None = None,
    columns: Sequence[str] | None = None,
    validation: Any = None,
    memory: int = 2**29,
    scratch: Any = None,
) -> Model:
    """Train a network on rows that need not fit into memory.

    A first pass checks every row, and writes all of them, decoded, to a scratch file. Each epoch
    reads that file in windows: pieces of some hundred neighbours in a new order, and all rows of a
    window shuffled. So a file that is sorted by its target is trained on as well as a shuffled one.
    While one window is trained on, the next one is read.

    Rows that fit into one window stay in memory; the model is then that of `model.fit`, to the bit.
    With more rows, `max_iter`, stopping, schedules of learning rates, callbacks and all else are
    those of `fit`; only the order of the rows is drawn in another way. It depends on `memory`, and
    neither on the sizes of chunks and row groups nor on the files that rows lie in.

    Parameters
    ----------
    model : MLPBinaryClassifier, TabularMLPBinaryClassifier or Pipeline
        Whose parameters to train by. With ``warm_start=True``, training goes on from its weights.
        A pipeline ends in one, after steps that have `partial_fit`, as StandardScaler and
        IncrementalPCA: each of them takes a pass over the rows more.
    source : path, list of paths, pyarrow.dataset.Dataset or callable
        The rows: a Parquet file, a folder of such files or a pattern for their names; a dataset; or
        a function that returns, each time anew, an object with ``__arrow_c_stream__`` or an
        iterator of chunks: tables with that method, (X, y) or (X, y, sample_weight). A thread
        calls it. All files and chunks must have the same columns, of the same types; those of a
        raw table may differ in type, as whole numbers do where there is a gap.
    target : str or None
        The column of labels: any two, or one. None for chunks (X, y).
    sample_weight : str, default=None
        The column of weights, which are not negative.
    columns : sequence of str, default=None
        The features, in their order: columns of numbers, or for a TabularMLPBinaryClassifier of
        all that it reads. By default all that are neither target nor weight, nor written down by
        pandas as the index.
    validation : path, list of paths, pyarrow.dataset.Dataset or callable, default=None
        Rows for early stopping to go by, with the same columns. By default, the share
        `validation_fraction` of the source, drawn row by row, so that the shares of the classes
        are met about; rows in memory are split as `fit` splits them. Targets, weights and
        predictions of these rows stay in memory, about 50 bytes a row beyond `memory`.
    memory : int, default=2**29
        Bytes that may be used beyond what the process has: for two windows, and for the chunks
        that are read. Larger windows mix rows better. A Parquet file takes a page of each column
        meanwhile, mostly 1 MiB: with hundreds of columns, that may be more than this.
    scratch : path, None or False, default=None
        A folder for the scratch file, which is as large as all rows in memory would be; None for
        the folder of temporary files. The file is removed whatever happens. False for no file:
        each epoch reads the source again, Parquet files by row groups in a new order, datasets by
        fragments, and others in their own order. Then rows mix within a window alone, so the
        source must not be sorted; and early stopping needs `validation`.

    Returns
    -------
    model : MLPBinaryClassifier, TabularMLPBinaryClassifier or Pipeline
        The same, trained. `feature_names_in_` are the columns of tables. Attributes are those that
        `fit` leaves.

    Raises
    ------
    ValueError
        If a row, a column or a file is not as described, with its place; if a parameter is not,
        or needs all rows at once (``solver="lbfgs"``, a function as `scoring`); if `memory` has no
        room for two minibatches; or if training ends in weights that are not finite.
    TypeError
        If the source is none of these, or the model is another.
    ImportError
        If pyarrow is needed and missing.
    OSError
        If a file cannot be read, or the disk has no room for the scratch file.

    Warns
    -----
    ConvergenceWarning, UserWarning
        As `fit` does.

    Notes
    -----
    An interrupt (Ctrl-C) in the first pass leaves the model as it was, and is raised. In training,
    it ends that early, with a warning and the newest weights. Any failure leaves the model as it
    was.

    Callbacks of scikit-learn are told of the first rows as X and y, some hundred, where not all are
    in memory.

    A TabularMLPBinaryClassifier learns its levels, and the ends of its columns, from all rows; the
    first chunk says which columns are categories, and text of files has its levels sorted. Of more
    rows than a window has, up to 100,000 are drawn to say where bins begin, all its networks hold
    out the same rows, 5% or about 50,000, and there are no `oof_probabilities_`. Its epochs are
    parts of the rows, so training may end before the first pass does. It needs a scratch file, and
    a dictionary of all levels in memory. Callbacks are told of the first 1,000 rows at most. Tables
    of Arrow's are read with narwhals, which scikit-learn brings from 1.9 on (extra `tables`).

    The shuffle in two levels is that of L. Xu et al., "In-database machine learning with
    CorgiPile", SIGMOD 2022.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPBinaryClassifier, streaming
    >>> def chunks():
    ...     rng = np.random.default_rng(0)
    ...     for _ in range(10):
    ...         X = rng.standard_normal((1000, 4))
    ...         yield X, X[:, 0] > 0
    >>> model = MLPBinaryClassifier((10,), learning_rate="cosine", max_iter=20, random_state=0)
    >>> model = streaming.fit(model, chunks, target=None)
    >>> X, y = next(chunks())
    >>> model.score(X, y) > 0.95
    True
    """
    network: Any = model.steps[-1][1] if isinstance(model, Pipeline) else model
    is_table = isinstance(network, TabularMLPBinaryClassifier)
    if not is_table and not isinstance(network, MLPBinaryClassifier):
        raise TypeError(
            "model must be an MLPBinaryClassifier, a TabularMLPBinaryClassifier or a Pipeline that "
            f"ends in one, got {network!r}."
        )
    if not get_config()["skip_parameter_validation"]:
        network._validate_params()
    if not isinstance(memory, Integral) or isinstance(memory, bool) or memory <= 0:
        raise ValueError(f"memory must be a positive number of bytes, got {memory!r}.")
    if scratch is True or not (scratch is None or scratch is False or os.path.isdir(scratch)):
        raise ValueError(f"scratch must be a folder that exists, None or False, got {scratch!r}.")
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got {columns!r}.")
    raw = is_table and network is model  # steps in front of it take numbers
    wanted = Wanted(target, sample_weight, None if columns is None else list(columns), raw)
    folder = scratch if scratch is None or scratch is False else os.fspath(scratch)
    batch_bytes = chunk_bytes(int(memory))
    rows: Source = source_of(source, wanted, batch_bytes)
    held_out = None if validation is None else source_of(validation, wanted, batch_bytes)
    streams = Streams(rows, held_out, int(memory), folder)
    fit_network = streamed_tables.fit if is_table else streamed.fit
    if not isinstance(model, Pipeline):
        fit_network(network, streams)
        return model
    if is_table:
        streamed_tables.check_settings(network, streams)
    else:
        streamed.check_settings(Settings.of(network), streams)
    transformed.check_steps(model)
    changed, changed_held_out, fitted = transformed.fit_steps(model, rows, held_out)

    def take_on() -> None:
        transformed.take_names(fitted, rows.names)
        model.steps[:-1] = fitted

    fit_network(network, replace(streams, source=changed, validation=changed_held_out), take_on)
    return model
