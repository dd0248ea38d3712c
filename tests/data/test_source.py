import re

import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.example import Span
from tunny.data.find import look_at
from tunny.data.settings import DataSettings

CONLL = "Anna\tB-PER\ncame\tO\n\nOslo\tB-LOC\n"
UNIVERSAL = "1\tAnna\t_\tPROPN\t_\t_\t_\t_\t_\t_\n"
BAD = {  # file, content, kind, settings, what the message says
    "an empty file": ("a.conll", "", "ner", {}, "a.conll: no example left; the file is empty"),
    "a header alone": ("a.csv", "text,label\n", "classify", {}, "a.csv: no example left; the file is empty"),
    "another encoding": ("a.conll", CONLL.encode() + b"\nZo\xeb\tB-PER\n", "ner", {"encoding": "utf-8"}, "a.conll:6: expected utf-8 text, found byte 0xeb. Set data.encoding"),
    "another encoding far down": (
        "a.csv", b"text,label\n" + b"fine,x\n" * 9000 + b"Z\xfcrich,x\n", "classify", {"encoding": "utf-8"}, "a.csv:9002: expected utf-8 text, found byte 0xfc"
    ),
    "another encoding in json": ("a.json", b'[\n{"text": "Z\xfcrich"}]', "ner", {"format": "json", "encoding": "utf-8"}, "a.json:2: expected utf-8 text, found byte 0xfc"),
    "conll with a column too few": (
        "a.conll", "Anna\tB-PER\ncame\n", "ner", {}, "a.conll:2: expected 2 columns (word, ..., tag), found 1: 'came'. Set data.delimiter"
    ),
    "conll with a column too many": ("a.conll", CONLL + "in\tO\tx\n", "ner", {}, "a.conll:5: expected 2 columns (word, ..., tag), found 3"),
    "conll without tags": ("a.conll", "Anna\ncame\n", "ner", {}, "a.conll:1: expected 2 columns (word, ..., tag), found 1"),
    "conll without the named column": (
        "a.conll", CONLL, "ner", {"tags": 4}, "a.conll: expected a column number from 0 to 1 as data.tags, found 4"
    ),
    "csv with a cell too many": ("a.csv", "text,label\nfine,x\nHi, you,y\n", "classify", {}, "a.csv:3: expected 2 columns as in the first row, found 3. Set data.delimiter"),
    "csv with a cell too few": ("a.csv", 'text,label\n"two\nlines",x\nfine\n', "classify", {}, "a.csv:4: expected 2 columns as in the first row, found 1"),
    "csv with an open quote": ("a.csv", 'text,label\nfine,x\n"never closed,y\n', "classify", {}, "a.csv:3: unexpected end of data in lines 3 to 3. Set data.quoting"),
    "csv with a text after a quote": ("a.csv", 'text,label\n"fine" he said,x\n', "classify", {}, "a.csv:2: ',' expected after '\"'"),
    "csv with two columns of one name": ("a.csv", "text,label,text\na,b,c\n", "classify", {}, "a.csv:1: two columns have the same name: text, label, text"),
    "conllu with a column too few": ("a.conllu", UNIVERSAL + "2\tcame\t_\tVERB\n", "pos", {}, "a.conllu:2: expected 10 columns parted by tabs, found 4"),
    "conllu without a word number": ("a.conllu", UNIVERSAL + UNIVERSAL.replace("1", "one"), "pos", {}, "a.conllu:2: expected a word number such as 1, 1-2 or 1.1"),
    "conllu with a token of words that are not there": ("a.conllu", UNIVERSAL.replace("1", "1-2", 1) + UNIVERSAL, "pos", {}, "expected a multi-word token of words 1 to 1, found 1-2"),
    "conllu without the named column": ("a.conllu", UNIVERSAL, "pos", {"tags": "upso"}, "a.conllu: no column 'upso' (data.tags); there are: id, form"),
    "a tag of no scheme": ("a.conll", "Anna\tB-PER\ncame\tQ-PER\n", "ner", {}, "a.conll:2: expected O or a tag such as B-PER or I-PER, found 'Q-PER'"),
    "a tag of no scheme in the third sentence": ("a.conll", CONLL + "\nin\tO\nRome\tLOC\n", "ner", {}, "a.conll:7: expected O or a tag such as B-PER or I-PER, found 'LOC'"),
    "a tag of no scheme in conllu": ("a.conllu", "# text = Anna\n" + UNIVERSAL, "ner", {}, "a.conllu:2: expected O or a tag such as B-PER or I-PER, found 'PROPN'"),
    "a tag of no scheme in jsonl": ("a.jsonl", '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a"], "tags": ["PER"]}\n', "ner", {}, "a.jsonl:2: expected O or a tag such as"),
    "a span past the end": ("a.jsonl", '{"text": "Oslo", "spans": [[0, 5, "LOC"]]}\n', "ner", {}, "a.jsonl:1: span 0-5 (LOC) lies outside the text, which has 4 characters"),
    "a span before the start": ("a.jsonl", '{"text": "Oslo", "spans": [[-1, 4, "LOC"]]}\n', "ner", {}, "a.jsonl:1: span -1-4 (LOC) lies outside"),
    "a span of no length": ("a.jsonl", '{"text": "Oslo", "spans": [[2, 2, "LOC"]]}\n', "ner", {}, "a.jsonl:1: span 2-2 (LOC) has no characters"),
    "a span of three and a half": ("a.jsonl", '{"text": "Oslo", "spans": [[0, 3.5, "LOC"]]}\n', "ner", {}, "a.jsonl:1: expected a span with whole numbers"),
    "a span without a label": ("a.jsonl", '{"text": "Oslo", "spans": [{"start": 0, "end": 4}]}\n', "ner", {}, "a.jsonl:1: expected a span with whole numbers start and end and a label"),
    "a row without spans": ("a.jsonl", '{"text": "Oslo", "spans": []}\n{"text": "Rome"}\n', "ner", {}, "a.jsonl:2: no label; every row needs one here"),
    "a row without label": ("a.csv", "text,label\nfine,x\nfine,\n", "classify", {}, "a.csv:3: no label; every row needs one here"),
    "a record of a list": ("a.json", '[{"text": "fine", "label": "x"},\n\n{"text": "fair"}]', "classify", {}, "a.json:record 2: no label; every row needs one here"),
    "no column for the label": ("a.csv", "text,note\nfine,x\n", "classify", {}, "a.csv: no column for the label; there are: text, note. Set data.label."),
    "a column that is not there": ("a.csv", "text,grade\nfine,x\n", "classify", {"label": "grad"}, "a.csv: no column 'grad' (data.label); there are: text, grade; did you mean 'grade'?"),
    "NaN as a score": ("a.csv", "text,score\nfine,nan\n", "regress", {}, "a.csv:2: expected a finite score, found 'nan'"),
    "NaN as a score in jsonl": ("a.jsonl", '{"text": "fine", "score": NaN}\n', "regress", {}, "a.jsonl:1: expected a finite score, found nan"),
    "no score at all": ("a.csv", "text,score\nfine,\n", "regress", {}, "a.csv:2: expected a number as the score, found ''"),
    "a text as a score": ("a.csv", "text,score\nfine,good\n", "regress", {}, "a.csv:2: expected a number as the score, found 'good'"),
    "a label that is not named": ("a.csv", "text,label\nfine,godo\n", "classify", {"labels": ["good", "bad"]}, "a.csv:2: label 'godo' is not in data.labels; did you mean 'good'?"),
    "an entity type that is not named": ("a.conll", CONLL, "ner", {"labels": ["PER"]}, "a.conll:4: label 'LOC' is not in data.labels"),
    "a number above the names": ("a.jsonl", '{"tokens": ["a"], "ner_tags": [3]}\n', "ner", {"labels": ["O", "B-X", "I-X"]}, "a.jsonl:1: label '3' is not in data.labels"),
    "numbers without names": ("a.jsonl", '{"tokens": ["a"], "ner_tags": [0]}\n', "ner", {}, "a.jsonl:1: the tags are integers; name them in id order in data.labels, as in --data.labels '[O, B-PER, I-PER]'."),
    "half of a surrogate pair": ("a.jsonl", '{"text": "Os\\ud83dlo", "label": "x"}\n', "classify", {}, "a.jsonl:1: the text or a label holds half of a surrogate pair"),
    "half of a surrogate pair in a label": ("a.jsonl", '{"text": "Oslo", "label": "\\ude00"}\n', "classify", {}, "a.jsonl:1: the text or a label holds half of a surrogate pair"),
    "more tags than tokens": ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}\n', "ner", {}, "a.jsonl:1: expected one tag a token, found 1 tokens and 2 tags"),
    "a broken line of jsonl": ("a.jsonl", '{"text": "fine", "label": "x"}\n{"text": "cut of\n', "classify", {}, "a.jsonl:2: expected a JSON object, found '{\"text\": \"cut of'"),
    "a line of jsonl that is no object": ("a.jsonl", '{"text": "fine", "label": "x"}\n[1, 2]\n', "classify", {}, "a.jsonl:2: expected a JSON object, found [1, 2]"),
    "broken json": ("a.json", '[{"text": "fine"},\n {"text" "x"}]', "classify", {}, "a.json:2: not valid JSON"),
    "json without a list": ("a.json", "12", "classify", {}, "a.json:1: expected a list of objects, found 12"),
    "a file that is no parquet": ("a.parquet", "PAR1 or not", "classify", {}, "a.parquet: not a readable Parquet file"),
    "plain text": ("a.txt", "Anna came.\n", "ner", {}, "a.txt: plain text has no labels, and labels are needed here"),
    "texts alone": ("a.txt", "Anna came.\n", "ner", {}, "or each text spans; labels of texts are for classify, multilabel and regress, texts or words alone for tunny predict MODEL FILE."),
    "texts with labels for entities": ("a.csv", "text,label\nfine,sea\n", "ner", {}, "a.csv:2: expected spans as a list, found 'sea'; labels of whole texts are for classify"),
    "texts with classes for entities": ("a.csv", "text,category\nfine,sea\n", "ner", {}, "Set data.tags or data.label. Each token needs a tag here, or each text spans; labels of texts are for classify"),
    "words with tags for classes": ("a.conll", CONLL, "classify", {}, "a.conll:1: no label; every row needs one here, and its words have only tags or spans, which are for ner"),
    "entities for classes": ("a.jsonl", '{"text": "Oslo", "spans": [[0, 4, "LOC"]]}\n', "classify", {}, "Set data.label. Each text needs a label here; tokens with tags and texts with spans are for ner"),
    "a named column that gold labels lack": ("a.csv", "text,note\nfine,x\n", "classify", {"label": "grade"}, "no column 'grade' (data.label); there are: text, note. Name one in data.label. Each text needs a label here"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_with_its_place(name, tmp_path):
    file, content, kind, settings, message = BAD[name]
    path = written(tmp_path, file, content)
    with pytest.raises(DataError, match=re.escape(message)):
        Reading(path, kind, **settings)


def test_advice_to_leave_rows_out_is_given_where_it_would_not_leave_all(tmp_path):
    content = [('{"tokens": ["a"], "ner_tags": [0]}\n', False), ('{"tokens": ["a"], "ner_tags": []}\n', True)]
    for text, wanted in content:
        with pytest.raises(DataError) as caught:
            Reading(written(tmp_path, "a.jsonl", text))
        assert str(caught.value).endswith(" Set data.on_error: quarantine to leave such rows out.") is wanted


def test_a_missing_file_says_which_one_is_near(tmp_path):
    written(tmp_path, "train.conll", CONLL)
    with pytest.raises(DataError, match=r"trian\.conll: no such file; did you mean 'train\.conll'\?"):
        Reading(tmp_path / "trian.conll")


def test_a_glob_without_files_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"\*\.conll: no such file"):
        Reading(tmp_path / "*.conll")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="the folder holds no file"):
        Reading(tmp_path)


QUARANTINED = {  # content with one bad row among good ones, and how many good ones there are
    "conll width": ("a.conll", CONLL + "\nin\tO\nRome\nnow\tO\n\nRiga\tB-LOC\n", "ner", {}, 3),
    "conll tag": ("a.conll", CONLL + "\nRome\tLOC\n", "ner", {}, 2),
    "conllu width": ("a.conllu", UNIVERSAL + "\n1\tcame\n\n" + UNIVERSAL, "pos", {}, 2),
    "csv width": ("a.csv", "text,label\nfine,x\nHi, you,y\nfair,x\n", "classify", {}, 2),
    "no label": ("a.csv", "text,label\nfine,x\nfair,\n", "classify", {}, 1),
    "score": ("a.csv", "text,score\nfine,1\nfair,high\n", "regress", {}, 1),
    "unknown label": ("a.csv", "text,label\nfine,x\nfair,z\n", "classify", {"labels": ["x", "y"]}, 1),
    "unknown entity type": ("a.conll", CONLL, "ner", {"labels": ["PER"]}, 1),
    "span": ("a.jsonl", '{"text": "Oslo", "spans": [[0, 9, "LOC"]]}\n{"text": "Oslo", "spans": [[0, 4, "LOC"]]}\n', "ner", {}, 1),
    "surrogate": ("a.jsonl", '{"text": "\\ud800", "label": "x"}\n{"text": "fine", "label": "x"}\n', "classify", {}, 1),
    "lengths": ("a.jsonl", '{"tokens": ["a"], "tags": []}\n{"tokens": ["a"], "tags": ["O"]}\n', "ner", {}, 1),
    "json line": ("a.jsonl", '{"text": "fine", "label": "x"}\n{"text\n', "classify", {}, 1),
}


@pytest.mark.parametrize("name", QUARANTINED)
def test_quarantine_leaves_a_bad_row_out_and_counts_it(name, tmp_path):
    file, content, kind, settings, good = QUARANTINED[name]
    found = Reading(written(tmp_path, file, content), kind, on_error="quarantine", **settings)
    counts = found.audit.counts
    assert (len(found), counts["examples"], counts["quarantined"], found.audit.flow("examples").taken) == (good, good, 1, good + 1)


def test_quarantine_lists_the_place_and_the_reason(tmp_path):
    found = Reading(written(tmp_path, "a.conll", CONLL + "\nin\tO\nRome\n"), on_error="quarantine")
    (event,) = found.audit.events["quarantined"]
    assert event["where"] == "a.conll:7"
    assert "expected 2 columns" in event["detail"]


def test_where_all_rows_are_bad_no_example_is_left(tmp_path):
    path = written(tmp_path, "a.csv", "text,score\nfine,x\nfair,y\n")
    with pytest.raises(DataError, match=r"a\.csv: no example left; quarantined: 2"):
        Reading(path, "regress", on_error="quarantine")


OVERLAPPING = '{"text": "University of Oslo students", "spans": [[0, 13, "ORG"], [11, 27, "PER"], [14, 18, "LOC"]]}\n'


@pytest.mark.parametrize(
    ("rule", "kept", "lost"),
    [("longest", [Span(11, 27, "PER")], 2), ("first", [Span(0, 13, "ORG"), Span(14, 18, "LOC")], 1)],
)
def test_overlaps_are_settled_by_the_rule_and_counted(tmp_path, rule, kept, lost):
    found = Reading(written(tmp_path, "a.jsonl", OVERLAPPING), overlaps=rule)
    assert list(found[0].spans) == kept
    assert found.audit.counts["spans overlapping"] == lost


def test_overlaps_stop_where_they_are_to(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: spans 0-13 \(ORG\) and 11-27 \(PER\) overlap\. Set data\.overlaps"):
        Reading(written(tmp_path, "a.jsonl", OVERLAPPING), overlaps="stop")


def test_spans_that_touch_do_not_overlap(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "東京都", "spans": [[2, 3, "B"], [0, 2, "A"]]}\n'), overlaps="stop")
    assert found[0].spans == (Span(0, 2, "A"), Span(2, 3, "B"))


def test_white_space_at_the_edges_of_a_span_is_trimmed_and_counted(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "in Oslo now", "spans": [[2, 8, "LOC"], [7, 8, "X"]]}\n'))
    assert found[0].spans == (Span(3, 7, "LOC"),)
    assert (found.audit.counts["spans trimmed"], found.audit.counts["spans of white space"]) == (1, 1)


def test_a_span_given_twice_is_one_span(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "Oslo", "spans": [[0, 4, "LOC"], [0, 4, "LOC"]]}\n'), overlaps="stop")
    assert found[0].spans == (Span(0, 4, "LOC"),)


def test_a_row_without_text_is_left_out_and_counted(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "text,label\nfine,x\n  ,y\n"), "classify")
    assert (len(found), found.audit.counts["empty"], found.audit.flow("examples").taken) == (1, 1, 2)


def test_empty_lines_are_kept_for_prediction_by_the_table_reader(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "text,label\n ,x\n"), "classify", labels_needed=False)
    assert [example.text for example in found] == [" "]


def test_texts_that_end_like_tags_are_no_conll(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("The best thing is vitamin O\nMore of O\n", "utf-8")
    assert look_at(path, DataSettings()).format == "text"
