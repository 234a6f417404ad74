"""Covering arrays: few cases in which every combination of a few factors occurs."""

from itertools import combinations

import numpy as np


def covering_array(cases, strength, seed=0, n_candidates=200):
    """Choose cases until every combination of `strength` values that occurs in any case is covered.

    Greedy, from random candidates: the one that covers the most comes next. The seed makes the
    choice the same each time.

    Parameters
    ----------
    cases : list of tuple
        All valid cases; position i of each holds a value of factor i.
    strength : int
        How many factors are combined.

    Returns
    -------
    list of tuple
        A part of the cases.
    """
    levels = [
        {value: k for k, value in enumerate(dict.fromkeys(c))} for c in zip(*cases, strict=True)
    ]
    coded = np.array([[level[v] for level, v in zip(levels, case, strict=True)] for case in cases])
    # A number for each combination of values in each case, one column a set of factors.
    columns, first_free = [], 0
    for factors in combinations(range(len(levels)), strength):
        sizes = [len(levels[f]) for f in factors]
        columns.append(first_free + np.ravel_multi_index(coded[:, factors].T, sizes))
        first_free += int(np.prod(sizes))
    numbers = np.stack(columns, axis=1)
    missing = np.zeros(first_free, dtype=bool)
    missing[numbers] = True
    rng = np.random.RandomState(seed)
    chosen = []
    while missing.any():
        candidates = rng.randint(len(cases), size=n_candidates)
        gains = missing[numbers[candidates]].sum(axis=1)
        best = candidates[gains.argmax()]
        if gains.max() == 0:
            # Rare combinations are seldom drawn: look for one of them.
            best = int(missing[numbers].any(axis=1).argmax())
        missing[numbers[best]] = False
        chosen.append(cases[best])
    return chosen
