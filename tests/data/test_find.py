import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.find import LOOKED_AT, find_files, look_at
from tunny.data.settings import DataSettings

TAGGED = "Anna\tB-PER\ncame\tO\n\nOslo\tB-LOC\n"
UNIVERSAL = "# text = Anna\n1\tAnna\t_\tPROPN\t_\t_\t_\t_\t_\t_\n"
TASK = {"id": 1, "data": {"text": "Oslo"}, "annotations": []}
RECORD = {"text": "Oslo", "spans": [{"start": 0, "end": 4, "label": "LOC"}]}
LINES = json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n"
MINIMAL = "text,annotator,annotation_id,created_at,updated_at,lead_time\n"

# Content, name, and the format it is in. The content decides where it can; where it cannot the ending does.
FORMATS = {
    "words and tags": (TAGGED, "a.txt", "conll"),
    "words and tags parted by spaces": (TAGGED.replace("\t", " "), "a", "conll"),
    "words and tags with comments": ("# id = 1\n" + TAGGED, "a.csv", "conll"),
    "words with parts of speech need the ending": ("Anna\tPROPN\n", "a.conll", "conll"),
    "a sentence of one word": ("Anna\tB-PER\n", "a.conll", "conll"),
    "universal dependencies": (UNIVERSAL, "a.txt", "conllu"),
    "lines of objects": (LINES, "a.txt", "jsonl"),
    "a line of an object called so": (LINES.splitlines()[0], "a.jsonl", "jsonl"),
    "one object": (LINES.splitlines()[0], "a.txt", "json"),
    "lines of which the first is broken": ('{"text": "Os\n' + LINES, "a.txt", "jsonl"),
    "lines of which the second is broken": (LINES[:90], "a", "jsonl"),
    "lines of pairs": ('["Oslo", {"entities": []}]\n', "a.txt", "jsonl"),
    "a list of pairs": ('[["Oslo", {"entities": []}]]', "a.txt", "json"),
    "a list": (json.dumps([RECORD]), "a.txt", "json"),
    "a list over several lines": (json.dumps([RECORD], indent=2), "a", "json"),
    "a list that breaks off": (json.dumps([RECORD])[:20], "a", "json"),
    "an object over several lines": (json.dumps(RECORD, indent=2), "a.jsonl", "json"),
    "an object with a list": (json.dumps({"data": [RECORD]}, indent=2), "a", "json"),
    "tasks": (json.dumps([TASK]), "a.json", "label-studio"),
    "tasks in lines": (json.dumps(TASK) + "\n" + json.dumps(TASK) + "\n", "a.json", "label-studio"),
    "tasks in lines, the first broken": (json.dumps(TASK)[:30] + "\n" + 2 * (json.dumps(TASK) + "\n"), "a.jsonl", "label-studio"),
    "an annotation of target storage": (json.dumps({"task": {"data": {"text": "Oslo"}}, "result": []}), "a.txt", "label-studio"),
    "JSON-MIN": (json.dumps([{"text": "Oslo", "annotator": 1, "annotation_id": 2, "lead_time": 3.5}]), "a.json", "label-studio"),
    "Label Studio's CSV": (MINIMAL, "a.csv", "label-studio"),
    "Label Studio's TSV": (MINIMAL.replace(",", "\t"), "a.csv", "label-studio"),
    "a CSV": ("text,label\nfine,x\n", "a.csv", "csv"),
    "a TSV": ("text\tlabel\nfine\tx\n", "a.tsv", "tsv"),
    "a CSV of one word a row": ("Sentence #,Word,Tag\nSentence: 1,Anna,O\n,of,O\n", "a.csv", "csv"),
    "a text": ("Anna came.\n", "a.txt", "text"),
    "a text without an ending": ("Anna came.\n", "a", "text"),
    "a text that ends like a tag": ("vitamin O\nblood of group O\n", "a.txt", "text"),
    "a text in brackets": ("[sic] Anna came.\n", "a.txt", "text"),
    "a text in braces": ("{sic} Anna came.\nand left\n", "a.csv", "csv"),
    "nothing": ("", "a.csv", "csv"),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_told_by_content_and_then_by_the_ending(name, tmp_path):
    content, file, expected = FORMATS[name]
    assert look_at(written(tmp_path, file, content), DataSettings()).format == expected


@pytest.mark.parametrize("ending", [".gz", ".zip", ".zst"])
def test_the_ending_before_that_of_packing_counts(ending, tmp_path):
    assert look_at(written(tmp_path, f"a.tsv{ending}", "text\tlabel\nfine\tx\n"), DataSettings()).format == "tsv"


def test_parquet_is_told_by_its_first_bytes(tmp_path):
    pq.write_table(pa.table({"text": ["fine"]}), tmp_path / "a.csv")
    assert look_at(tmp_path / "a.csv", DataSettings())[:2] == ("parquet", "it starts with Parquet's mark")


def test_the_setting_wins_over_the_content(tmp_path):
    assert look_at(written(tmp_path, "a.csv", TAGGED), DataSettings(format="text"))[:2] == ("text", "data.format says so")


@pytest.mark.parametrize("name", ["hub:owner/ships", "hub:owner/ships:small@main#train[:10%]"])
def test_a_name_of_the_hub_is_no_path(name):
    (path,) = find_files(name)
    assert (str(path), look_at(path, DataSettings()).format) == (name, "hub")


@pytest.mark.parametrize("file", ["a.txt", "a.jsonl"])
def test_a_line_longer_than_what_is_looked_at_is_looked_at_whole(file, tmp_path):
    long = json.dumps({"text": "x" * 3 * LOOKED_AT, "label": "x"}) + "\n"
    assert look_at(written(tmp_path, file, long + long), DataSettings()).format == "jsonl"


def test_a_text_of_one_long_line_is_a_text(tmp_path):
    assert look_at(written(tmp_path, "a.txt", "word O " * LOOKED_AT), DataSettings()).format == "text"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("**/*.csv", ["a.csv", "b.csv", "c.csv"]),
        ("[b].csv", ["b.csv"]),
        ("b.csv", ["b.csv"]),
        ("sub", ["c.csv"]),
    ],
)
def test_names_globs_and_folders_stand_for_files_in_order(pattern, expected, tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("b.csv", "a.csv", "sub/c.csv", "sub/.hidden"):
        written(tmp_path, name, "x")
    assert [path.name for path in find_files(str(tmp_path / pattern))] == expected


def test_a_name_with_signs_of_globs_is_the_file_of_that_name(tmp_path):
    path = written(tmp_path, "a[1].csv", "x")
    assert find_files(str(path)) == [path]


def test_files_of_several_formats_may_be_read_together(tmp_path):
    written(tmp_path, "a.conll", TAGGED)
    written(tmp_path, "b.jsonl", LINES)
    found = Reading(tmp_path)
    assert [example.text for example in found] == ["Anna came", "Oslo", "Oslo", "Oslo"]
    assert [example.origin.file for example in found] == [0, 0, 1, 1]


def test_the_format_is_said_once_for_many_files(tmp_path):
    for number in range(20):
        written(tmp_path, f"{number}.jsonl", LINES)
    assert sum("format jsonl" in note for note in Reading(tmp_path).audit.notes) == 1


def test_a_member_of_no_archive_is_missing(tmp_path):
    path = written(tmp_path, "a.csv", "x")
    with pytest.raises(DataError, match=r"a\.csv/b\.csv: no such file"):
        find_files(str(path / "b.csv"))
