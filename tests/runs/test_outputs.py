"""What is stored of a sample: columns, rounding, Parquet; by property."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from qubastore.errors import OutputError
from qubastore.runs.outputs import parquet_bytes, vectors_table
from qubastore.statistics.scores import check_logits, check_shape, output_columns, round_significant

anything = arrays(np.float32, st.integers(0, 50), elements=st.floats(width=32))


@given(anything, st.sampled_from([8, 11, 16, 24]))
def test_rounding_moves_a_value_by_at_most_its_last_bit(values, bits):
    rounded = round_significant(values, bits)
    assert rounded.dtype == np.float32
    finite = np.isfinite(values)
    assert np.isfinite(rounded[finite]).all()
    np.testing.assert_array_equal(rounded[~finite], values[~finite])
    normal = finite & (np.abs(values) >= np.finfo(np.float32).tiny) & (np.abs(values) < 3e38)
    wide, back = values[normal].astype(np.float64), rounded[normal].astype(np.float64)
    assert (np.abs(back - wide) <= np.abs(wide) * 2.0**-bits).all()
    np.testing.assert_array_equal(np.signbit(rounded), np.signbit(values))


@given(anything, st.sampled_from([8, 11, 16]))
def test_rounding_twice_changes_nothing(values, bits):
    once = round_significant(values, bits)
    np.testing.assert_array_equal(round_significant(once, bits), once)


def test_halves_round_to_even():
    ulp = np.float32(2.0**-7)
    values = np.array([1 + ulp / 2, 1 + 3 * ulp / 2], np.float32)
    assert round_significant(values, 8).tolist() == [1.0, 1 + 2 * ulp]


@settings(max_examples=50)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(1, 12)), elements=st.floats(-80, 80, width=32)),
    st.data(),
)
def test_columns_against_plain_arithmetic(logits: NDArray[np.float32], data):
    n, classes = logits.shape
    labels = np.array([data.draw(st.integers(0, classes - 1)) for _ in range(n)], np.int32)
    columns: dict[str, NDArray[Any]] = output_columns(logits, labels)
    wide = logits.astype(np.float64)
    probabilities = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    order = np.argsort(-wide, axis=1, kind="stable")[:, :5]
    np.testing.assert_array_equal(columns["top5_class"], order)
    np.testing.assert_array_equal(columns["prediction"], order[:, 0])
    np.testing.assert_array_equal(columns["top5_logit"], np.take_along_axis(logits, order, 1))
    np.testing.assert_allclose(columns["confidence"], probabilities.max(axis=1), rtol=1e-12)
    np.testing.assert_allclose(columns["label_probability"], probabilities[np.arange(n), labels], rtol=1e-12)
    np.testing.assert_allclose(columns["logsumexp"], np.log(np.exp(wide).sum(axis=1)), atol=1e-12, rtol=1e-12)
    np.testing.assert_allclose(columns["sum_squared_probability"], (probabilities**2).sum(axis=1), rtol=1e-12)


def test_a_tie_goes_to_the_lowest_class():
    columns = output_columns(np.array([[1, 3, 3, 0]], np.float32), np.array([2], np.int32))
    assert columns["prediction"].tolist() == [1]
    assert columns["top5_class"].tolist() == [[1, 2, 0, 3]]


@settings(max_examples=30, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 9)), elements=st.floats(width=32)))
def test_vectors_come_back_from_parquet(tmp_path_factory, vectors):
    path = tmp_path_factory.mktemp("parquet") / "vectors.parquet"
    ids = np.arange(len(vectors), dtype=np.int32)
    path.write_bytes(parquet_bytes(vectors_table("r", ids, vectors)))
    table = pq.ParquetFile(path).read()
    back = table.column("values").combine_chunks().flatten().to_numpy().reshape(vectors.shape)
    np.testing.assert_array_equal(back.view(np.uint32), vectors.view(np.uint32))


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([[0.0, np.nan, 1.0]], "returned nan for class 1"),
        ([[0.0, np.inf, 1.0]], "returned inf for class 1"),
        ([[0.2, 0.3, 0.5], [0.0, 0.0, 1.0]], "returned probabilities"),
        ([[0.0, 1.0]], r"shape \(1, 2\)"),
    ],
)
def test_impossible_outputs_are_refused(logits, message):
    values = np.array(logits, np.float32)

    def check():
        check_shape(values.shape, classes=3, model="net")
        check_logits(values, model="net")

    with pytest.raises(OutputError, match=message):
        check()


def test_logits_that_sum_to_one_by_chance_are_logits():
    check_logits(np.array([[-1.0, 0.5, 1.5]], np.float32), model="net")
