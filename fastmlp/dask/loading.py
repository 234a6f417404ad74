"""Partitions on their way to shards: packed at home, and known to the client by what is small."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import dask
import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import validate_data

from fastmlp.dask import work
from fastmlp.dask.cluster import Cluster
from fastmlp.dask.collections import Partition
from fastmlp.dask.rounds import Fleet
from fastmlp.data.checks import CheckedData, TrainingData, check_validation_labels
from fastmlp.data.class_weights import class_weights, weighted
from fastmlp.data.labels import check_labels, encode, labels_of
from fastmlp.data.rows import as_rows
from fastmlp.estimators import runs
from fastmlp.estimators.given import Given, Problem
from fastmlp.estimators.settings import Settings
from fastmlp.training.blocks import Info, Packing
from fastmlp.training.weights import FLOAT32

Array = NDArray[Any]

#: Share of a worker's memory that its shards may have: Dask writes to disk from 0.6 on.
_SHARE_OF_MEMORY = 0.5


class Loading:
    """Partitions on their way to shards.

    Parameters
    ----------
    cluster : Cluster
        With a home for each shard.
    settings : Settings
        The parameters.
    earlier : mapping
        The attributes of earlier calls to go on from.
    seed : int
        What rows to hold out are drawn from.
    """

    def __init__(
        self, cluster: Cluster, settings: Settings, earlier: Mapping[str, Any], seed: int
    ) -> None:
        self.cluster, self.settings, self.earlier, self.seed = cluster, settings, earlier, seed
        # Of each shard: partitions, those to validate on last; how many are to train on.
        self.packed: list[list[Any]] = []
        self.infos: list[list[Info]] = []
        self.n_parts: list[int] = []
        self.limits = {a: worker["memory_limit"] for a, worker in cluster.workers().items()}

    def pack(self, parts: Sequence[Partition], validation: Sequence[Partition]) -> None:
        """Have partitions packed at home, and wait for what there is to know of them."""
        cluster, settings = self.cluster, self.settings
        # L-BFGS works in float64, whatever the weights are in the end.
        dtype = settings.dtype
        if dtype is None and self.earlier:
            dtype = np.asarray(self.earlier["coefs_"][0]).dtype
        if dtype != FLOAT32 or not settings.by_epochs:
            dtype = None
        share = 0.0
        if settings.early_stopping and not validation:
            share = settings.validation_fraction
        n_shards = len(cluster.homes)
        sizes = [part.n_rows for part in parts if part.n_rows is not None]
        known = len(sizes) == len(parts)
        of_shards = _of_shards(sizes if known else [1] * len(parts), n_shards)
        of_validation = _of_shards([1] * len(validation), n_shards)
        needed = [
            sum(parts[k].n_bytes(dtype) for k in own)
            + sum(validation[k].n_bytes(dtype) for k in more)
            for own, more in zip(of_shards, of_validation, strict=True)
        ]
        for home in sorted(set(cluster.homes)):
            self._check_memory(home, needed)
        self.packed = [[] for _ in cluster.homes]
        packing = Packing(dtype, share, self.seed)
        for number, own in enumerate(of_shards):
            self._pack(number, [(k, parts[k]) for k in own], packing)
        self.n_parts = [len(own) for own in self.packed]
        packing = Packing(dtype, 1.0, self.seed, "partition of X_val")
        for number, own in enumerate(of_validation):
            self._pack(number, [(k, validation[k]) for k in own], packing)
        self._wait()

    def _pack(self, number: int, parts: list[tuple[int, Partition]], packing: Packing) -> None:
        tasks = [
            dask.delayed(work.pack_partition, pure=False)(
                part.X, part.y, part.weight, k, packing, _SHARE_OF_MEMORY
            )
            for k, part in parts
        ]
        for k, part in parts:
            self.cluster.given[f"{packing.name} {k}"] = part
        self.packed[number] += self.cluster.compute(tasks, number)

    def _wait(self) -> None:
        """Wait for what there is to know of packed partitions."""
        cluster = self.cluster
        places = [(n, k) for n, own in enumerate(self.packed) for k in range(len(own))]
        # Each where the partition is: elsewhere, it would be sent there. And ahead of the next
        # partition, or all would be packed before anything is known.
        infos = [cluster.submit(n, work.info_of, self.packed[n][k], priority=1) for n, k in places]
        found: dict[tuple[int, int], Info] = {}
        needed = [0] * len(self.packed)
        for place, info in cluster.results(infos):
            number, _ = places[place]
            found[places[place]] = info
            needed[number] += info.n_bytes
            # At once: those to come would fill the worker.
            self._check_memory(cluster.homes[number], needed)
        cluster.forget(infos)
        self.infos = [[found[n, k] for k in range(len(own))] for n, own in enumerate(self.packed)]

    def finish(
        self,
        estimator: Any,
        given: Given,
        known_classes: Array | None,
        one_epoch: bool,
    ) -> tuple[Problem, Fleet]:
        """Make shards, and say what the problem is."""
        trained = [i for own, n in zip(self.infos, self.n_parts, strict=True) for i in own[:n]]
        validated = [i for own, n in zip(self.infos, self.n_parts, strict=True) for i in own[n:]]
        everything = [*trained, *validated]
        _check_alike(everything)
        if not sum(info.n_rows for info in trained):
            raise ValueError("X has no rows to train on: all partitions are empty.")
        labels = _labels(trained)
        classes = labels if known_classes is None else known_classes
        if known_classes is not None:
            check_labels(labels, known_classes, warm_start=not one_epoch)
        if validated:
            check_validation_labels(_labels(validated), classes)
        sums = np.array(
            [sum(i.weights.get(label, 0.0) for i in trained) for label in classes.tolist()]
        )
        if not sums.any():
            raise ValueError("sample_weight must contain at least one non-zero number.")
        by_class = class_weights(self.settings.class_weight, classes, classes, sums)
        weighted(sums, encode(classes, classes), by_class)
        if self.settings.early_stopping:
            _check_held_out(everything, classes, by_class, given=bool(validated))
        draft = runs.draft_of(estimator)
        first = next(i for i in everything if i.n_rows or i.n_held_out)
        _take_features(draft, first, reset=not self.earlier)
        dtype = first.dtype
        fleet = self._fleet(classes, dtype, by_class, estimator.n_threads)
        filled = next(k for k, n in enumerate(fleet.sizes) if n)
        rows = self.cluster.submit(filled, work.first_rows, fleet.shards[filled])
        sample = self.cluster.result(rows)
        rows_of_it = as_rows(sample.X, self.settings.first_dtype(dtype))
        data = TrainingData(rows_of_it, sample.targets, sample.weight, classes)
        y: Any = given.y  # callbacks are told of the collection
        checked = CheckedData(sample.X, y, classes, None)
        return Problem(estimator, draft, given, checked, data, by_class), fleet

    def _fleet(
        self, classes: Array, dtype: Any, by_class: Array | None, n_threads: int | None
    ) -> Fleet:
        cluster, kept, sizes = self.cluster, [], []
        for number, (own, infos) in enumerate(zip(self.packed, self.infos, strict=True)):
            digests = [info.digest for info in infos]
            shard = cluster.submit(number, work.make_shard, own, digests, classes, dtype, by_class)
            kept.append(shard)
            sizes.append(sum(info.n_rows for info in infos))
            cluster.forget(own)
        return Fleet(cluster, kept, sizes, n_threads)

    def _check_memory(self, home: str, needed: Sequence[int]) -> None:
        """ValueError if shards that need so many bytes are more than their home has room for."""
        own = [number for number, each in enumerate(self.cluster.homes) if each == home]
        what = f"shard{'s' * (len(own) > 1)} {', '.join(map(str, own))}"
        n_bytes = sum(needed[number] for number in own)
        work.check_room(what, home, n_bytes, self.limits.get(home), _SHARE_OF_MEMORY)


def _of_shards(sizes: Sequence[int], n_shards: int) -> list[list[int]]:
    """Divide partitions of these sizes into shards of neighbours, of about as many rows each."""
    middles = np.cumsum(sizes) - np.asarray(sizes) / 2 if sizes else np.empty(0)
    total = max(1, sum(sizes))
    numbers = np.minimum((middles * n_shards / total).astype(int), n_shards - 1)
    return [np.flatnonzero(numbers == k).tolist() for k in range(n_shards)]


def _labels(infos: Sequence[Info]) -> Array:
    """The labels of all partitions; an error names the first with a third one."""
    found: Array | None = None
    for info in infos:
        if len(info.labels) == 0:
            continue
        if found is None:
            found = info.labels
            continue
        both = np.concatenate([found, info.labels])
        if found.dtype.kind != info.labels.dtype.kind and "U" in (
            found.dtype.kind, info.labels.dtype.kind
        ):  # fmt: skip
            raise ValueError(
                f"{info.name} {info.number}: y has labels {info.labels}, and those of other "
                f"partitions are {found}."
            )
        distinct = np.unique(both)
        if set(distinct.tolist()) != {*found.tolist(), *info.labels.tolist()}:
            raise ValueError(
                f"{info.name} {info.number}: y has labels {info.labels} of {info.labels.dtype}, "
                f"and those of earlier partitions are {found} of {found.dtype}: no type holds both."
            )
        if len(distinct) > 2:
            raise ValueError(
                f"{info.name} {info.number}: Only binary classification is supported. y has labels "
                f"{info.labels}, and earlier partitions have {found}."
            )
        found = distinct
    assert found is not None
    return labels_of(found)[1]


def _check_held_out(
    infos: Sequence[Info], classes: Array, by_class: Array | None, *, given: bool
) -> None:
    """ValueError if rows to validate on are too few, or have no weight.

    given : whether they were, or else drawn
    """
    if sum(info.n_held_out for info in infos) < 2:
        raise ValueError("The validation set is too small: two rows are needed.")
    labels = classes.tolist()
    of_class = np.ones(len(labels)) if by_class is None else by_class
    sums = [sum(info.held_out.get(label, 0.0) for info in infos) for label in labels]
    if not (np.array(sums) * of_class).any():
        which = "of X_val" if given else "that were drawn to hold out"
        raise ValueError(f"sample_weight is 0 for all rows {which}.")


def _check_alike(infos: Sequence[Info]) -> None:
    """Check that partitions have the same columns and types, and workers the same software."""
    filled = [info for info in infos if info.n_rows or info.n_held_out]
    for info in filled:
        first = filled[0]
        for what, mine, others in (
            ("columns", info.n_features, first.n_features),
            # Rows to validate on are converted one part at a time.
            ("X of dtype", info.dtype if info.name == first.name else first.dtype, first.dtype),
            ("columns named", info.names, first.names),
        ):
            if mine != others:
                raise ValueError(
                    f"{info.name} {info.number} has {what} {mine}, and {first.name} {first.number} "
                    f"{others}."
                )
        (version, width), (first_version, first_width) = info.software, first.software
        if version != first_version:
            raise ValueError(
                f"Workers have different versions of fastmlp: {version} and {first_version}."
            )
        if width != first_width:
            warnings.warn(
                f"Workers have vectors of {width} and of {first_width} bytes: results will depend "
                "on which of them trains what. FASTMLP_VECTOR_BYTES sets one width for all.",
                UserWarning,
                stacklevel=2,
            )


def _take_features(draft: Any, info: Info, *, reset: bool) -> None:
    """Have a draft take on or compare the number and the names of the features."""
    X: Any = np.empty((0, info.n_features))
    if info.names is not None:
        import pandas as pd  # which made them

        X = pd.DataFrame(X, columns=list(info.names))
    validate_data(draft, X, reset=reset, skip_check_array=True)
