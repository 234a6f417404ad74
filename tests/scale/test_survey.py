"""A table that is read in chunks is the one that is read at once; a sample does not see chunks."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_equal

from fastmlp.data.facts import ColumnFacts
from fastmlp.data.parts import Part
from fastmlp.data.sample import Sample
from fastmlp.data.survey import Survey
from fastmlp.data.table import read_table

NUMBERS = st.one_of(st.none(), st.integers(-3, 3), st.floats(-1e6, 1e6), st.sampled_from([0.5]))
FEW = st.one_of(st.none(), st.sampled_from([1.0, 2.0]))
WORDS = st.one_of(st.none(), st.sampled_from(["b", "a", "", "Z"]))
FLAGS = st.booleans()
HOLDERS = {
    "pandas": pd.DataFrame,
    "polars": lambda columns: pl.DataFrame(columns, strict=False),
    "arrow": pa.table,
    "array": lambda columns: np.array(list(zip(*columns.values(), strict=True)), dtype=object),
}


@st.composite
def tables(draw):
    n = draw(st.integers(1, 20))

    def column(values):
        return draw(st.lists(values, min_size=n, max_size=n))

    number = [None if x is None else float(x) for x in column(NUMBERS)]
    return {"x": number, "few": column(FEW), "word": column(WORDS), "flag": column(FLAGS)}


@given(tables(), st.sampled_from(sorted(HOLDERS)), st.lists(st.integers(1, 19), max_size=4))
def test_chunks_make_the_table(columns, holder, cuts):
    columns["word"][0] = "a"  # the first chunk says what is text
    table, n = HOLDERS[holder](columns), len(columns["x"])
    reader, matrix = read_table(table)
    survey, parts = Survey("from_dtype"), []
    ends = sorted({min(cut, n) for cut in cuts} | {n})
    for first, last in zip([0, *ends], ends, strict=False):
        parts.append(survey.read(table[first:last]))
    found = np.concatenate(parts)
    assert survey.reader() == reader
    survey.finish(found)
    np.testing.assert_array_equal(found, matrix)
    for j, column in enumerate(reader.columns):
        facts = ColumnFacts.of(matrix[:, j], is_category=column.kind == "category")
        assert_equal(vars(survey.facts()[j]), vars(facts))


def test_categories_of_pandas_keep_their_order():
    frame = pd.DataFrame({"size": pd.Categorical(list("mslms"), list("sml"), ordered=True)})
    survey = Survey("from_dtype")
    parts = [survey.read(frame[:2]), survey.read(frame[2:])]
    assert survey.reader() == read_table(frame)[0]
    assert survey.reader().columns[0].levels == ("s", "m", "l")
    found = np.concatenate(parts)
    survey.finish(found)
    np.testing.assert_array_equal(found, read_table(frame)[1])


def test_categories_of_pandas_in_two_orders_are_sorted():
    survey = Survey("from_dtype")
    for levels in ("sml", "lms"):
        survey.read(pd.DataFrame({"size": pd.Categorical(list("ms"), list(levels))}))
    assert survey.reader().columns[0].levels == ("m", "s")


@pytest.mark.parametrize("chosen", [["town"], [1], [False, True]])
def test_categories_that_are_named(chosen):
    frame = pd.DataFrame({"x": [0.5, 1, 2, 3], "town": [30, 10, 20, 10]})
    survey = Survey(chosen)
    parts = [survey.read(frame[:1]), survey.read(frame[1:])]
    reader, matrix = read_table(frame, chosen)
    assert survey.reader() == reader
    found = np.concatenate(parts)
    survey.finish(found)
    np.testing.assert_array_equal(found, matrix)


def test_columns_are_found_by_name():
    survey = Survey("from_dtype")
    survey.read(pd.DataFrame({"x": [1.0], "word": ["a"]}))
    found = survey.read(pd.DataFrame({"word": ["b"], "x": [2.0]}))
    np.testing.assert_array_equal(found, [[2.0, 1.0]])
    with pytest.raises(ValueError, match="missing: word"):
        survey.read(pd.DataFrame({"x": [1.0]}))


def part(n, first=0, weighted=True):
    rows = np.arange(first, first + n)
    return Part(rows[:, None] + np.zeros(2), rows % 3 == 0, rows + 0.5 if weighted else None)


@pytest.mark.parametrize("weighted", [False, True])
@given(st.lists(st.integers(0, 60), min_size=1, max_size=8), st.integers(1, 50))
def test_a_sample_does_not_see_chunks(weighted, sizes, n):
    n_all = sum(sizes) + 1
    whole, chunked = Sample(n, 10**9, seed=3), Sample(n, 10**9, seed=3)
    whole.add(part(n_all, weighted=weighted))
    first = 0
    for size in [*sizes, 1]:
        chunked.add(part(size, first, weighted))
        first += size
    for one, other in zip(whole.rows, chunked.rows, strict=True):
        np.testing.assert_array_equal(one, other)
    rows = whole.rows.X[:, 0].astype(int)
    assert len(rows) == min(n, n_all)
    assert (np.diff(rows) > 0).all()  # each once, in order
    expected = part(n_all, weighted=weighted)
    np.testing.assert_array_equal(whole.rows.targets, expected.targets[rows])
    if weighted:
        np.testing.assert_array_equal(whole.rows.weight, expected.weight[rows])


def test_each_row_is_as_likely_as_any_other():
    drawn = np.zeros(200)
    for seed in range(2000):
        sample = Sample(20, 10**9, seed)
        for first in range(0, 200, 50):
            sample.add(part(50, first))
        drawn[sample.rows.X[:, 0].astype(int)] += 1
    # Binomial(2000, 0.1): a standard deviation is 13.4.
    assert np.abs(drawn - 200).max() < 5 * 13.4


def test_a_sample_keeps_within_its_bytes():
    sample = Sample(1000, 2500, seed=0)
    sample.add(part(500))
    assert sample.rows.n_rows == 2500 / 1.25 // (2 * 8 + 1 + 8)
