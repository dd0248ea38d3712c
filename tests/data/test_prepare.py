import os
import subprocess
import sys

import pytest

from tests.data.reading import written
from tests.tiny import make_tokenizer
from tunny.core.errors import DataError
from tunny.core.files import TEMPORARY
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.prepare import ABANDONED_SECONDS, cache_folder, chunked, encode_splits, read_splits, require_labels
from tunny.data.read import read
from tunny.data.settings import DataSettings, EncodeSettings

ROWS = "text,label\nfine weather,good\nrough seas,bad\nfair wind,good\n"
TOKENIZER = make_tokenizer("wordpiece-uncased")


def prepare(files, kind="classify", *, encode=None, tokenizer=TOKENIZER, labels=None, **settings):
    chosen = DataSettings(**settings)
    dataset = read_splits({name: [str(path)] for name, path in files.items()}, dict.fromkeys(files, chosen), kind, labels)
    return encode_splits(dataset, Encoder(tokenizer.backend_tokenizer, EncodeSettings(**(encode or {}))))


def cached():
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in cache_folder().rglob("*") if path.is_file()}


def test_the_examples_in_the_store_are_those_of_the_file(tmp_path):
    path = written(tmp_path, "a.csv", ROWS)
    split = prepare({"train": path}).splits["train"]
    stored = [example for chunk in split.examples.chunks() for example in chunk]
    assert stored == list(read([str(path)], DataSettings(), "classify", Audit()))


def test_each_row_of_windows_names_its_example(tmp_path):
    split = prepare({"train": written(tmp_path, "a.csv", ROWS)}).splits["train"]
    assert [split.windows[row].example for row in range(len(split.windows))] == [0, 1, 2]
    assert split.windows.lengths.tolist() == [len(split.windows[row].ids) for row in range(3)]


def test_a_second_preparation_writes_and_tokenises_nothing(tmp_path, capsys):
    path = written(tmp_path, "a.csv", ROWS)
    prepare({"train": path})
    before = cached()
    capsys.readouterr()
    prepare({"train": path})
    assert cached() == before
    assert "encoded data found in the cache, nothing to tokenise" in capsys.readouterr().err


def test_touching_a_file_without_changing_it_changes_nothing(tmp_path):
    path = written(tmp_path, "a.csv", ROWS)
    prepare({"train": path})
    before = cached()
    os.utime(path, (1, 1))
    prepare({"train": path})
    assert cached() == before


def test_changed_bytes_of_the_same_size_and_time_are_read_anew(tmp_path):
    path = written(tmp_path, "a.csv", ROWS)
    prepare({"train": path})
    time = path.stat().st_mtime_ns
    written(tmp_path, "a.csv", ROWS.replace("fair", "foul"))
    os.utime(path, ns=(time, time))
    split = prepare({"train": path}).splits["train"]
    assert [example.text for chunk in split.examples.chunks() for example in chunk][2] == "foul wind"


def windows_of(dataset):
    windows = dataset.splits["train"].windows
    return [(windows[row].ids.tolist(), windows[row].labels.tolist()) for row in range(len(windows))]


def test_changed_settings_of_encoding_are_encoded_anew(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\n" + ". " * 20 + ",x\n")
    assert len(windows_of(prepare({"train": path}))) == 1
    assert len(windows_of(prepare({"train": path}, encode={"max_tokens": 12, "stride": 0}))) == 2
    assert len(list((cache_folder() / "examples").iterdir())) == 1


def test_another_tokenizer_is_encoded_anew(tmp_path):
    path = written(tmp_path, "a.csv", ROWS)
    other = make_tokenizer("byte-bpe")
    prepare({"train": path})
    ids = windows_of(prepare({"train": path}, tokenizer=other))[0][0]
    assert ids == other("fine weather")["input_ids"]


def test_another_order_of_labels_is_encoded_anew(tmp_path):
    path = written(tmp_path, "a.csv", ROWS)
    assert [labels for _, labels in windows_of(prepare({"train": path}))] == [[1], [0], [1]]
    assert [labels for _, labels in windows_of(prepare({"train": path}, labels=LabelSet("classify", ("good", "bad"))))] == [[0], [1], [0]]


def test_changed_settings_of_reading_are_read_anew(tmp_path):
    path = written(tmp_path, "a.csv", ROWS)
    assert len(windows_of(prepare({"train": path}))) == 3
    assert len(windows_of(prepare({"train": path}, max_examples=2))) == 2


def test_a_changed_file_of_labels_is_read_anew(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\nfine,0\nfair,1\n")
    names = written(tmp_path, "labels.txt", "good\nbad\n")
    first = read_splits({"train": [str(path)]}, {"train": DataSettings(labels=str(names))}, "classify")
    written(tmp_path, "labels.txt", "hot\ncold\n")
    second = read_splits({"train": [str(path)]}, {"train": DataSettings(labels=str(names))}, "classify")
    assert [sorted(part.splits["train"].label_counts) for part in (first, second)] == [["bad", "good"], ["cold", "hot"]]


def test_a_file_read_for_another_task_is_read_anew(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\nfine,1\nfair,2\n")
    prepare({"train": path})
    assert prepare({"train": path}, "regress").splits["train"].windows[1].score == 2.0


def test_texts_that_stand_twice_are_counted(tmp_path):
    audit = prepare({"train": written(tmp_path, "a.csv", ROWS + "rough seas,bad\nrough seas,good\n")}).audit
    (event,) = audit.events["duplicates"]
    assert event["detail"] == "2 texts stand there before; the commonest 3 times, first in row 2"


def test_texts_of_validation_that_training_holds_are_counted(tmp_path):
    train = written(tmp_path, "a.csv", ROWS)
    validation = written(tmp_path, "b.csv", "text,label\ncalm,good\nrough seas,bad\n")
    audit = prepare({"train": train, "validation": validation}).audit
    assert audit.events["leakage"] == [{"where": "validation", "detail": "1 of 2 texts are in the training data too"}]


def test_ids_given_twice_are_counted(tmp_path):
    rows = "id,text,label\n7,fine,x\n8,fair,x\n7,rough,y\n7,calm,y\n"
    audit = prepare({"train": written(tmp_path, "a.csv", rows)}).audit
    assert audit.counts["ids given twice"] == 2
    assert audit.events["ids given twice"][0]["detail"] == "2 examples have an id that stands there before, such as '7'"


def test_clean_splits_have_neither_duplicates_nor_leakage(tmp_path):
    validation = written(tmp_path, "b.csv", "text,label\ncalm,good\nstorm,bad\n")
    audit = prepare({"train": written(tmp_path, "a.csv", ROWS), "validation": validation}).audit
    assert audit.events == {}


def test_a_label_missing_from_training_is_reported_and_has_an_id(tmp_path):
    validation = written(tmp_path, "b.csv", "text,label\ncalm,best\nstill,best\n")
    dataset = prepare({"train": written(tmp_path, "a.csv", ROWS), "validation": validation})
    assert dataset.audit.events["labels missing from training"] == [
        {"where": "validation", "detail": "'best' (2 times): it cannot be learnt"}
    ]
    assert dataset.labels.names == ("bad", "best", "good")


def test_one_class_alone_is_reported(tmp_path):
    audit = prepare({"train": written(tmp_path, "a.csv", "text,label\nfine,x\nfair,x\n")}).audit
    assert audit.counts["only one label"] == 1


def test_one_entity_type_alone_is_nothing_to_report(tmp_path):
    assert prepare({"train": written(tmp_path, "a.conll", "Anna\tB-PER\ncame\tO\n")}, "ner").audit.events == {}


def test_data_without_any_entity_cannot_be_learnt(tmp_path):
    with pytest.raises(DataError, match="no label in the data"):
        require_labels(prepare({"train": written(tmp_path, "a.conll", "came\tO\n")}, "ner"))


def test_a_bad_file_leaves_nothing_in_the_cache(tmp_path):
    with pytest.raises(DataError):
        prepare({"train": written(tmp_path, "a.csv", ROWS + "x,y,z\n")})
    assert cached() == {}


def test_an_interrupted_encoding_leaves_nothing_of_it(tmp_path, monkeypatch):
    path = written(tmp_path, "a.csv", ROWS)

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Encoder, "encode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare({"train": path})
    assert list((cache_folder() / "encoded").iterdir()) == []
    assert len(windows_of(prepare({"train": path}))) == 3


def test_a_killed_preparation_is_made_anew(tmp_path):
    path = written(tmp_path, "a.conll", "Anna\tB-PER\ncame\tO\n\n" * 3)
    script = """
import os, signal, sys
from tunny.data import prepare
from tunny.data.settings import DataSettings
prepare.write_json = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
prepare.read_splits({"train": [sys.argv[1]]}, {"train": DataSettings()}, "ner")
"""
    done = subprocess.run([sys.executable, "-c", script, str(path)], env=dict(os.environ), check=False)
    assert done.returncode == -9
    assert [folder.name.startswith(TEMPORARY) for folder in (cache_folder() / "examples").iterdir()] == [True]
    assert len(windows_of(prepare({"train": path}, "ner"))) == 3


def test_unfinished_folders_are_removed_once_they_are_old(tmp_path):
    old, fresh = (cache_folder() / "examples" / f"{TEMPORARY}{name}" for name in ("old", "fresh"))
    old.mkdir(parents=True)
    fresh.mkdir()
    past = fresh.stat().st_mtime - ABANDONED_SECONDS - 60
    os.utime(old, (past, past))
    prepare({"train": written(tmp_path, "a.csv", ROWS)})
    assert (old.exists(), fresh.exists()) == (False, True)


def test_chunks_hold_all_examples_in_order_and_no_more_than_a_million_characters():
    examples = [Example(str(number), "x" * 400_000) for number in range(5)]
    assert [[example.id for example in chunk] for chunk in chunked(examples)] == [["0", "1"], ["2", "3"], ["4"]]
    short = [Example(str(number), "x") for number in range(5000)]
    assert [len(chunk) for chunk in chunked(short)] == [2048, 2048, 904]


def test_windows_of_many_chunks_name_rows_of_the_whole_split(tmp_path):
    path = written(tmp_path, "a.conll", "".join(f"w{number}\tB-X\n\n" for number in range(4100)))
    windows = prepare({"train": path}, "ner").splits["train"].windows
    assert [windows[row].example for row in (0, 2047, 2048, 4099)] == [0, 2047, 2048, 4099]
