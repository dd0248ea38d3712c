from collections import Counter

import numpy as np
import pytest

from tests.tasks.build import columns_of, sequence_task
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.plan import Budget, plan_epoch
from tunny.data.settings import EncodeSettings
from tunny.data.store import WINDOWS, WindowStore, write_batches
from tunny.tasks.sampling import label_counts, row_weights

CLASSES = ("common", "rare")


@pytest.fixture
def store(tokenizer, tmp_path):
    """Ten windows, nine of a common class and one of a rare one."""
    examples = [Example(str(at), "cod", labels=(CLASSES[at == 9],)) for at in range(10)]
    encoder = Encoder(tokenizer.backend_tokenizer, EncodeSettings())
    batch = encoder.encode(examples, sequence_task("classify", CLASSES).labels, Audit()).rows()
    write_batches(tmp_path / "windows.arrow", WINDOWS, [batch])
    return WindowStore(tmp_path / "windows.arrow")


def test_labels_are_counted_over_all_rows(store):
    assert label_counts(store) == Counter({0: 9, 1: 1})


def test_the_windows_of_a_long_text_count_as_one(tokenizer, tmp_path):
    encoder = Encoder(tokenizer.backend_tokenizer, EncodeSettings(max_tokens=16, stride=4))
    example = Example("long", "cod " * 100, labels=("common",))
    batch = encoder.encode([example], sequence_task("classify", CLASSES).labels, Audit()).rows()
    write_batches(tmp_path / "long.arrow", WINDOWS, [batch])
    rows = WindowStore(tmp_path / "long.arrow")
    assert len(rows) > 5
    assert label_counts(rows) == Counter({0: 1})


@pytest.mark.parametrize(("power", "ratio"), [(0.5, 3.0), (1.0, 9.0)])
def test_a_row_weighs_by_the_frequency_of_its_rarest_label(store, power, ratio):
    weights = row_weights(store, label_counts(store), power)
    assert weights[9] / weights[0] == pytest.approx(ratio)


def test_rows_with_rare_labels_are_drawn_more_often(store):
    weights = row_weights(store, label_counts(store), 1.0)
    drawn = Counter(
        int(row) for epoch in range(200) for step in plan_epoch(store.lengths, Budget(4), 1, epoch, weights) for row in step.rows
    )
    assert drawn[9] / drawn.total() == pytest.approx(0.5, abs=0.05)
    assert set(drawn) == set(range(10))


def test_ignored_positions_are_no_labels(tokenizer):
    columns = columns_of(sequence_task("classify", CLASSES), tokenizer, [Example("0", "cod")])
    assert np.all(row_weights(_Rows(columns), Counter({0: 3}), 1.0) == 1.0)


class _Rows:
    """Columns with the two things that sampling asks of a store."""

    def __init__(self, columns):
        self._columns = columns

    def __len__(self):
        return len(self._columns)

    def __getitem__(self, row):
        return self._columns[row]
