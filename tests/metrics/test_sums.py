from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunny.metrics import sums as module
from tunny.metrics.sums import Table

CELLS = st.sampled_from([("a", "x"), ("a", "y"), ("b",)])
COUNTS = st.dictionaries(CELLS, st.integers(0, 3))
ROWS = st.lists(st.tuples(COUNTS, st.sampled_from([None, "one", "two"])), max_size=20)


@given(ROWS, st.integers(0, 3))
@settings(deadline=None)
def test_a_table_sums_what_was_added_by_document(rows, remembered):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "REMEMBERED", remembered)
        table = Table()
        for counts, document in rows:
            table.add(counts, document)
    by_document, total = {}, Counter()
    for number, (counts, document) in enumerate(rows):
        by_document.setdefault(document or number, Counter()).update(counts)
        total.update(counts)
    sums = table.sums()
    assert {cell: float(sums[cell]) for cell in total} == total
    assert len(table) == len(by_document)
    kept = table.counts().toarray()
    found = [{cell: kept[row, column] for cell, column in table.columns.items() if kept[row, column]} for row in table.of_document]
    assert found == [{cell: number for cell, number in counts.items() if number} for counts in by_document.values()]


def test_a_cell_that_nothing_fell_into_is_zero():
    table = Table()
    table.add({("a", "x"): 2.0})
    assert float(table.sums()["a", "y"]) == 0.0
    assert [(cell, float(value)) for cell, value in table.sums().family("a")] == [(("x",), 2.0)]


def test_documents_with_the_same_counts_are_kept_once():
    table = Table()
    for _ in range(1000):
        table.add({("a",): 1.0})
    assert table.counts().shape == (1, 1)
    assert table.times().tolist() == [1000]
