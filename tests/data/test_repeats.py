"""Repeated texts and ids: counted as by hand, whatever the number of parts."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tunny.data import repeats
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.store import EXAMPLES, read_rows, to_rows, write_batches

ROWS = st.lists(st.tuples(st.sampled_from(["", "a", "ab", "ba", "é", "🐟"]), st.sampled_from(["cod", "eel", "ray", "cod "])), max_size=12)


def stored(folder, name, rows, size=3):
    batches = [to_rows([Example(number, text) for number, text in rows[at : at + size]]) for at in range(0, len(rows), size)]
    write_batches(folder / name, EXAMPLES, batches)
    return folder / name


@settings(max_examples=40, deadline=None)
@given(ROWS, ROWS, st.integers(1, 30))
def test_repeats_are_counted_as_by_hand(tmp_path_factory, train, test, part):
    folder = tmp_path_factory.mktemp("rows")
    files = {"train": stored(folder, "a", train), "test": stored(folder, "b", test)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "PART", part)
        audit = Audit()
        repeats.find_repeats(files, audit)
    for name, rows in (("train", train), ("test", test)):
        texts, ids = [text for _, text in rows], [number for number, _ in rows]
        said = [event["detail"] for event in audit.events.get("duplicates", []) if event["where"] == name]
        again = len(texts) - len(set(texts))
        assert bool(said) == bool(again)
        if again:
            often = max(Counter(texts).values())
            assert said[0].startswith(f"{again} texts stand there before; the commonest {often} times, first in row ")
            first = int(said[0].rpartition(" ")[2])
            assert texts.count(texts[first - 1]) == often
            assert texts.index(texts[first - 1]) == first - 1
        said = [event["detail"] for event in audit.events.get("ids given twice", []) if event["where"] == name]
        assert [int(detail.split()[0]) for detail in said] == [len(ids) - len(set(ids))] * (len(set(ids)) < len(ids))
        for detail in said:
            assert any(count > 1 and repr(one) in detail for one, count in Counter(ids).items())
    leaked = sum(text in {text for _, text in train} for _, text in test)
    assert [event["detail"].split()[0] for event in audit.events.get("leakage", [])] == [str(leaked)] * bool(leaked)


def test_rows_are_read_one_batch_after_another_whole_or_in_part(tmp_path):
    file = stored(tmp_path, "a", [("1", "cod"), ("2", "eel"), ("3", "ray"), ("4", "cod")])
    assert [batch.num_rows for batch in read_rows(file)] == [3, 1]
    assert [batch.schema.names for batch in read_rows(file, "text")] == [["text"], ["text"]]
    assert next(read_rows(file)).schema.names == EXAMPLES.names
