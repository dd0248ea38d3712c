import json

import pytest

from tests.data.reading import written
from tunny.core.errors import DataError
from tunny.data.read import find_kind
from tunny.data.settings import DataSettings

TASK = {"id": 1, "data": {"text": "Anna"}, "annotations": [{"id": 1, "result": []}]}
SPAN = {"type": "labels", "from_name": "label", "to_name": "text", "value": {"start": 0, "end": 4, "labels": ["PER"]}}
CHOICE = {"type": "choices", "from_name": "kind", "to_name": "text", "value": {"choices": ["x"]}}
FILES = {
    "ner: conll": ("a.conll", "Anna\tB-PER\ncame\tO\n"),
    "pos: conll": ("a.conll", "Anna\tPROPN\ncame\tVERB\n"),
    "pos: conllu": ("a.conllu", "1\tAnna\t_\tPROPN\t_\t_\t_\t_\t_\t_\n"),
    "ner: tokens and tags": ("a.jsonl", '{"tokens": ["Anna"], "ner_tags": ["B-PER"]}\n'),
    "pos: tokens and tags": ("a.jsonl", '{"tokens": ["Anna"], "pos_tags": ["PROPN"]}\n'),
    "ner: spans": ("a.jsonl", '{"text": "Anna", "spans": [[0, 4, "PER"]]}\n'),
    "classify: csv": ("a.csv", "text,label\none,x\ntwo,y\n"),
    "classify: numbered classes": ("a.csv", "text,label\n" + "".join(f"text {n},{n % 3}\n" for n in range(50))),
    "multilabel: lists": ("a.jsonl", '{"text": "one", "labels": ["x", "y"]}\n{"text": "two", "labels": []}\n'),
    "regress: decimals": ("a.csv", "text,score\none,0.5\ntwo,3\n"),
    "ner: a Label Studio task": ("a.json", json.dumps([TASK | {"annotations": [{"id": 1, "result": [SPAN]}]}])),
    "classify: a Label Studio task": ("a.json", json.dumps([TASK | {"annotations": [{"id": 1, "result": [CHOICE]}]}])),
}


@pytest.mark.parametrize("name", FILES)
def test_the_task_is_told_by_the_labels(name, tmp_path):
    path = written(tmp_path, *FILES[name])
    settings = DataSettings(format="conll") if name == "pos: conll" else DataSettings()
    assert find_kind(str(path), settings)[0] == name.partition(":")[0]


def test_a_bad_row_does_not_hide_what_the_others_are_for(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\none,x\ntwo\nthree,y\nfour,x\n")
    assert find_kind(str(path), DataSettings())[0] == "classify"


def test_columns_of_unusual_names_are_no_tokens_and_tags(tmp_path):
    path = written(tmp_path, "a.csv", "UserName,ScreenName,Tweet,Mood\n1,2,fine weather,good\n3,4,rough seas,bad\n")
    with pytest.raises(DataError, match=r"(?s)give --task\n.*as classify: a.csv: no column for the text; there are: UserName, ScreenName"):
        find_kind(str(path), DataSettings())


def test_the_kind_that_reads_most_is_taken_where_most_rows_are_bad(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "one", "label": "x"}\nbroken\n{"text": "two"}\n{"text": "three", "label": "y"}\nworse\n')
    assert find_kind(str(path), DataSettings())[0] == "classify"


def test_an_empty_file_says_so(tmp_path):
    with pytest.raises(DataError, match="it holds no row"):
        find_kind(str(written(tmp_path, "a.jsonl", "\n\n")), DataSettings())


def test_a_file_without_labels_asks_for_the_task(tmp_path):
    with pytest.raises(DataError, match="what task it is for cannot be told; give --task"):
        find_kind(str(written(tmp_path, "a.txt", "just a text\n")), DataSettings())


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("wnut17/wnut17train.conll", "ner"), ("germeval14/train.tsv", "ner"), ("ncbi-disease/train.tsv", "ner"),
        ("ud-en-ewt/en_ewt-ud-dev.conllu", "pos"), ("label-studio/server-exports/export_JSON.json", "ner"),
    ],
)  # fmt: skip
def test_real_files_are_told(shared_data, file, kind):
    assert find_kind(str(shared_data / file), DataSettings())[0] == kind
