import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunny.data.example import Example, Span
from tunny.data.store import EXAMPLES, ExampleStore, from_rows, to_rows, write_batches

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLACE = st.integers(0, 1000)
RANGES = st.lists(st.tuples(PLACE, PLACE), max_size=4).map(tuple)
EXAMPLE = st.builds(
    Example, TEXT, TEXT,
    spans=st.none() | st.lists(st.builds(Span, PLACE, PLACE, TEXT), max_size=4).map(tuple),
    labels=st.none() | st.lists(TEXT, max_size=3).map(tuple),
    score=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    text_b=st.none() | TEXT, document=st.none() | TEXT, words=st.none() | RANGES,
    meta=st.dictionaries(TEXT, st.integers() | TEXT | st.booleans(), max_size=2),
)  # fmt: skip


@given(st.lists(EXAMPLE, max_size=5))
def test_examples_come_back_as_they_were(examples):
    assert from_rows(to_rows(examples)) == examples


def store_of(folder, chunks):
    write_batches(folder / "examples.arrow", EXAMPLES, map(to_rows, chunks))
    return ExampleStore(folder / "examples.arrow")


def test_a_store_keeps_chunks_and_order(tmp_path):
    chunks = [[Example("1", "a"), Example("2", "b")], [Example("3", "c")]]
    store = store_of(tmp_path, chunks)
    assert list(store.chunks()) == chunks
    assert len(store) == 3


def test_a_row_is_found_in_its_chunk(tmp_path):
    store = store_of(tmp_path, [[Example("1", "a"), Example("2", "b")], [Example("3", "c")]])
    assert [store.locate(row) for row in range(3)] == [(0, 0), (0, 1), (1, 0)]


def test_an_empty_store_has_no_rows(tmp_path):
    store = store_of(tmp_path, [])
    assert len(store) == 0
    assert list(store.chunks()) == []


@pytest.mark.parametrize(("other", "equal"), [(("a", "b"), True), (("ab", ""), False), (("a", None), False), (("b", "a"), False)])
def test_the_key_is_of_both_texts(tmp_path, other, equal):
    keys = store_of(tmp_path, [[Example("1", "a", text_b="b"), Example("2", other[0], text_b=other[1])]]).column("key")
    assert (len(np.unique(keys)) == 1) == equal
