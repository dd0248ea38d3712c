import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.raw import deal_rows, quoted
from tunny.data.read import sources
from tunny.data.settings import DataSettings

FILES = {  # file, content, kind, number of examples
    "conll": ("a.conll", "Anna\tB-PER\ncame\tO\n\nOslo\tB-LOC\n \t\n\nBerit\tB-PER\n", "ner", 3),
    "conll with documents": ("a.conll", "-DOCSTART- O\n\nAnna B-PER\n\n-DOCSTART- O\n\nOslo B-LOC\n\n", "ner", 2),
    "conllu": ("a.conllu", "# newdoc id = d\n1\tHei\t_\tINTJ\t_\t_\t_\t_\t_\t_\n\n1\tJa\t_\tINTJ\t_\t_\t_\t_\t_\t_\n\n", "pos", 2),
    "jsonl": ("a.jsonl", '{"text": "one",  "label": "x", "other": 1.50}\n\n{"text": "two", "label": "y"}\n', "classify", 2),
    "json": ("a.json", '[{"text": "one",\n "label": "x"}, {"text":"two","label":"y"}]', "classify", 2),
    "csv": ("a.csv", 'text,label\n"one,\n more",x\ntwo,y\n', "classify", 2),
    "csv without header": ("a.csv", "one,x\ntwo,y\n", "classify", 2),
    "tsv": ("a.tsv", 'text\tlabel\nsay "no\tx\ntwo\ty\n', "classify", 2),
    "a row a word": ("a.csv", "Sentence #,Word,Tag\nSentence: 1,Anna,B-per\n,came,O\nSentence: 2,Oslo,B-geo\n", "ner", 2),
    "latin-1": ("a.csv", "text,label\nZürich grüßt,x\nZoë,y\n".encode("latin-1"), "classify", 2),
}


def settings_of(name):
    bare = {"header": False, "text": 0, "label": 1} if name == "csv without header" else {}
    return DataSettings(**bare)


@pytest.mark.parametrize("name", FILES)
def test_rows_come_into_the_new_files_as_they_stood(name, tmp_path):
    file, content, kind, number = FILES[name]
    path = written(tmp_path, file, content)
    settings = settings_of(name)
    examples = Reading(path, kind, **settings.model_dump(exclude_unset=True))
    assert len(examples) == number
    places = {example.origin: at % 2 for at, example in enumerate(examples)}
    found = list(sources([str(path)], settings, kind, Audit(), None, True))
    new = tmp_path / "new"
    new.mkdir()
    parts = deal_rows(found, places, new, ["even", "odd", "none"])
    again = [Reading(part, kind, **settings.model_dump(exclude_unset=True)) for part in parts[:2]]
    whole = [(example.text, example.spans, example.labels) for example in examples]
    assert [(example.text, example.spans, example.labels) for example in again[0]] == whole[0::2]
    assert [(example.text, example.spans, example.labels) for example in again[1]] == whole[1::2]
    with pytest.raises(DataError, match="no example left"):
        Reading(parts[2], kind, **settings.model_dump(exclude_unset=True))


def test_json_keeps_what_tunny_does_not_know(tmp_path):
    path = written(tmp_path, "a.jsonl", FILES["jsonl"][1])
    found = list(sources([str(path)], DataSettings(), "classify", Audit(), None, True))
    (part,) = deal_rows(found, {(0, 1): 0}, tmp_path, ["part"])
    assert part.read_text("utf-8") == '{"text": "one",  "label": "x", "other": 1.50}\n'


def test_rows_of_parquet_keep_their_columns_and_types(tmp_path):
    table = pa.table({"text": ["one", "two", "three"], "label": ["x", "y", "x"], "extra": pa.array([1, None, 3], pa.int8())})
    pq.write_table(table, tmp_path / "a.parquet")
    found = list(sources([str(tmp_path / "a.parquet")], DataSettings(), "classify", Audit(), None, True))
    first, second = deal_rows(found, {(0, 1): 0, (0, 2): 1, (0, 3): 0}, tmp_path, ["first", "second"])
    assert pq.read_table(first).equals(table.take([0, 2]))
    assert pq.read_table(second).equals(table.take([1]))


def test_files_of_two_formats_are_not_mixed(tmp_path):
    written(tmp_path, "a.csv", FILES["csv"][1])
    written(tmp_path, "b.jsonl", FILES["jsonl"][1])
    found = list(sources([str(tmp_path / "a.csv"), str(tmp_path / "b.jsonl")], DataSettings(), "classify", Audit(), None, True))
    with pytest.raises(DataError, match=r"expected files of one format, found csv, jsonl\. Convert them first"):
        deal_rows(found, {}, tmp_path, ["part"])


def test_tables_with_other_columns_are_not_mixed(tmp_path):
    written(tmp_path, "a.csv", "text,label\none,x\n")
    written(tmp_path, "b.csv", "label,text\nx,one\n")
    found = list(sources([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")], DataSettings(), "classify", Audit(), None, True))
    with pytest.raises(DataError, match=r"b.csv:1: expected the columns of the first file"):
        deal_rows(found, {(0, 2): 0, (1, 2): 0}, tmp_path, ["part"])


def test_a_quarantined_row_is_quoted_with_its_reason(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "one", "label": "x"}\nnot json\n{"text": "two", "label": null}\n')
    read = Reading(path, "classify", on_error="quarantine")
    found = list(sources([str(path)], DataSettings(on_error="quarantine"), "classify", Audit(), None, True))
    first, second = [json.loads(line) for line in quoted(found, read.audit.rejected)]
    assert (first["file"], first["line"], first["row"]) == ("a.jsonl", 2, "not json\n")
    assert "expected a JSON object" in first["reason"]
    assert (second["line"], second["row"]) == (3, '{"text": "two", "label": null}\n')
    assert "no label" in second["reason"]


def test_an_element_of_a_list_is_quoted_with_its_number_and_not_as_a_line(tmp_path):
    path = written(tmp_path, "a.json", '[{"text": "one", "label": "x"},\n\n{"text": "two"}]')
    read = Reading(path, "classify", on_error="quarantine")
    found = list(sources([str(path)], DataSettings(on_error="quarantine"), "classify", Audit(), None, True))
    (entry,) = map(json.loads, quoted(found, read.audit.rejected))
    assert (entry["number"], entry["row"], "line" in entry) == (2, '{"text": "two"}', False)


def test_what_cannot_be_read_to_its_end_has_no_row_to_quote(tmp_path):
    path = written(tmp_path, "a.json", '[{"text": "one", "label": "x"}, {"text"')
    read = Reading(path, "classify", on_error="quarantine")
    found = list(sources([str(path)], DataSettings(on_error="quarantine"), "classify", Audit(), None, True))
    (entry,) = map(json.loads, quoted(found, read.audit.rejected))
    assert (entry["line"], entry["row"]) == (0, None)
