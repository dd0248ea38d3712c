import csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from seqeval.metrics.sequence_labeling import get_entities

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Span
from tunny.data.read import read
from tunny.data.settings import DataSettings

SENTENCES = [
    (["Anna", "Berg", "flew", "to", "Oslo", "."], ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]),
    (["Acme", "Ltd.", "hired", "Zoë", "Müller"], ["B-ORG", "I-ORG", "O", "B-PER", "B-PER"]),
    (["Nobody", "came", "."], ["O", "O", "O"]),
]
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"]
EXPECTED = [  # counted by hand
    ("Anna Berg flew to Oslo .", ((0, 9, "PER"), (18, 22, "LOC"))),
    ("Acme Ltd. hired Zoë Müller", ((0, 9, "ORG"), (16, 19, "PER"), (20, 26, "PER"))),
    ("Nobody came .", ()),
]
TAGS = {
    "IOB1": ["I-PER I-PER O O I-LOC O", "I-ORG I-ORG O I-PER B-PER", "O O O"],
    "IOB2": ["B-PER I-PER O O B-LOC O", "B-ORG I-ORG O B-PER B-PER", "O O O"],
    "BIOES": ["B-PER E-PER O O S-LOC O", "B-ORG E-ORG O S-PER S-PER", "O O O"],
    "BILOU": ["B-PER L-PER O O U-LOC O", "B-ORG L-ORG O U-PER U-PER", "O O O"],
}
TOKENS = [tokens for tokens, _ in SENTENCES]
IOB2 = [tags for _, tags in SENTENCES]


def conll(scheme="IOB2", gap="\t"):
    tags = [row.split() for row in TAGS[scheme]]
    return "\n".join("".join(f"{word}{gap}{tag}\n" for word, tag in zip(*pair, strict=True)) for pair in zip(TOKENS, tags, strict=True))


def conllu():
    rows = []
    for tokens, tags in zip(TOKENS, IOB2, strict=True):
        rows += [f"{n}\t{word}\t_\t_\t{tag}\t_\t_\t_\t_\t_" for n, (word, tag) in enumerate(zip(tokens, tags, strict=True), 1)]
        rows.append("")
    return "\n".join(rows) + "\n"


def table(rows, delimiter=","):
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    return out.getvalue()


def tagged_records(tags=IOB2, key="tags"):
    return [{"tokens": words, key: row} for words, row in zip(TOKENS, tags, strict=True)]


def span_records():
    return [{"text": text, "spans": [{"start": s, "end": e, "label": label} for s, e, label in spans]} for text, spans in EXPECTED]


def lines_of(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def label_studio():
    def task(number, text, spans):
        regions = [{"type": "labels", "value": {"start": s, "end": e, "text": text[s:e], "labels": [label]}} for s, e, label in spans]
        annotation = {"was_cancelled": False, "updated_at": "2025-01-01", "result": regions}
        return {"id": number, "data": {"text": text}, "annotations": [annotation]}

    return json.dumps([task(number, text, spans) for number, (text, spans) in enumerate(EXPECTED, 1)], ensure_ascii=False)


INTEGERS = [[NAMES.index(tag) for tag in tags] for tags in IOB2]
JOINED = [["tokens", "tags"], *([" ".join(words), " ".join(tags)] for words, tags in zip(TOKENS, IOB2, strict=True))]
LISTS = [["tokens", "tags"], *([json.dumps(words), json.dumps(tags)] for words, tags in zip(TOKENS, IOB2, strict=True))]
FILES = {
    **{f"conll in {scheme}": ("a.conll", conll(scheme), {}, "conll") for scheme in TAGS},
    "conll parted by spaces": ("a.txt", conll(gap=" "), {}, "conll"),
    "conll with CRLF": ("a.conll", conll().replace("\n", "\r\n"), {}, "conll"),
    "conll with a byte order mark": ("a.conll", "\ufeff" + conll(), {}, "conll"),
    "conll in latin-1": ("a.conll", conll().encode("latin-1"), {"encoding": "latin-1"}, "conll"),
    "conll in utf-16": ("a.conll", conll().encode("utf-16"), {"encoding": "utf-16"}, "conll"),
    "conll parted by a bar": ("a.conll", conll(gap="|"), {"delimiter": "|"}, "conll"),
    "conllu": ("a.conllu", conllu(), {"tags": "xpos"}, "conllu"),
    "jsonl of tags": ("a.jsonl", lines_of(tagged_records()), {}, "jsonl"),
    "jsonl of integers": ("a.jsonl", lines_of(tagged_records(INTEGERS, "ner_tags")), {"labels": NAMES}, "jsonl"),
    "jsonl of tags of known types": ("a.jsonl", lines_of(tagged_records()), {"labels": ["PER", "LOC", "ORG"]}, "jsonl"),
    "jsonl of spans": ("a.jsonl", lines_of(span_records()), {}, "jsonl"),
    "jsonl of entities": (
        "a.jsonl", lines_of({"sentence": text, "entities": spans} for text, spans in EXPECTED), {}, "jsonl"
    ),
    "jsonl without an ending": ("a", "\ufeff" + lines_of(span_records()).replace("\n", "\r\n"), {}, "jsonl"),
    "json list": ("a.json", json.dumps(tagged_records(), indent=1), {}, "json"),
    "json list inside an object": ("a.json", json.dumps({"version": "1", "data": span_records()}, indent=1), {}, "json"),
    "json list inside an object on one line": ("a.json", json.dumps({"data": span_records()}), {}, "json"),
    "csv of words": ("a.csv", table(JOINED), {}, "csv"),
    "csv of lists": ("a.csv", table(LISTS), {}, "csv"),
    "csv parted by semicolons": ("a.csv", table(JOINED, ";"), {}, "csv"),
    "csv of spans": ("a.csv", table([["text", "spans"], *([t, json.dumps(s)] for t, s in EXPECTED)]), {}, "csv"),
    "tsv": ("a.tsv", table(JOINED, "\t"), {}, "tsv"),
    "tsv without a header": ("a.tsv", table(JOINED[1:], "\t"), {"header": False, "tokens": 0, "tags": 1}, "tsv"),
    "csv with a byte order mark": ("a.csv", "\ufeff" + table(JOINED), {}, "csv"),
    "label-studio": ("a.json", label_studio(), {}, "label-studio"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_the_same_content_gives_the_same_examples(name, tmp_path):
    file, content, settings, _ = FILES[name]
    found = Reading(written(tmp_path, file, content), **settings)
    assert [(example.text, example.spans) for example in found] == EXPECTED


@pytest.mark.parametrize("name", FILES)
def test_the_format_is_found_and_said(name, tmp_path):
    file, content, settings, kind = FILES[name]
    found = Reading(written(tmp_path, file, content), **settings)
    assert any(note.startswith(f"{file}: format {kind} (") for note in found.audit.notes)


@pytest.mark.parametrize("columns", [{"tokens": TOKENS, "tags": IOB2}, {"tokens": TOKENS, "tags": INTEGERS}])
def test_parquet_gives_the_same_examples(columns, tmp_path):
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    found = Reading(tmp_path / "rows.parquet", labels=NAMES)
    assert [(example.text, example.spans) for example in found] == EXPECTED


def test_parquet_is_found_by_its_content(tmp_path):
    pq.write_table(pa.table({"text": ["fine", "poor"], "label": ["good", "bad"]}), tmp_path / "rows")
    assert [example.labels for example in Reading(tmp_path / "rows", "classify")] == [("good",), ("bad",)]


@pytest.mark.parametrize("scheme", TAGS)
def test_the_tag_scheme_is_said(scheme, tmp_path):
    found = Reading(written(tmp_path, "a.conll", conll(scheme)))
    assert any(f"tag scheme {scheme} (" in note for note in found.audit.notes)


def test_files_are_read_in_the_order_of_their_names(tmp_path):
    for name in ("b.txt", "a.txt", "c.txt"):
        written(tmp_path, name, f"text of {name}\n")
    found = Reading(tmp_path / "*.txt", labels_needed=False)
    assert [example.text for example in found] == ["text of a.txt", "text of b.txt", "text of c.txt"]


def test_at_most_max_examples_are_read(tmp_path):
    found = Reading(written(tmp_path, "a.conll", conll()), max_examples=2)
    assert [example.text for example in found] == [text for text, _ in EXPECTED[:2]]


def test_a_named_id_column_gives_the_ids(tmp_path):
    path = written(tmp_path, "a.csv", "id,text,label,key\n7,fine,good,x1\n8,poor,bad,x2\n")
    assert [example.id for example in Reading(path, "classify")] == ["7", "8"]
    assert [example.id for example in Reading(path, "classify", id="key")] == ["x1", "x2"]


def test_without_an_id_column_file_and_line_are_the_id(tmp_path):
    path = written(tmp_path, "a.csv", 'text,label\n"one\nline more",x\ntwo,y\n')
    assert [example.id for example in Reading(path, "classify")] == ["a.csv:2", "a.csv:4"]


def test_prediction_needs_no_labels(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "Anna came."}\n{"text": "Oslo"}\n'), labels_needed=False)
    assert [(example.text, example.spans) for example in found] == [("Anna came.", None), ("Oslo", None)]


def test_prediction_does_not_read_the_labels_that_are_there(tmp_path):
    found = Reading(written(tmp_path, "a.conll", conll()), labels_needed=False)
    assert [(example.text, example.spans) for example in found] == [(text, None) for text, _ in EXPECTED]


# -- real data: the counts its makers publish --------------------------------------------------------------------------


@pytest.mark.parametrize(("file", "sentences", "entities"), [("wnut17train.conll", 3394, 1975), ("emerging.dev.conll", 1009, 836)])
def test_wnut17_has_its_sentences_and_entities(shared_data, file, sentences, entities):
    found = Reading(shared_data / "wnut17" / file)
    assert (len(found), sum(len(example.spans) for example in found)) == (sentences, entities)


@pytest.mark.parametrize(("file", "sentences", "entities"), [("train.tsv", 5424, 5134), ("devel.tsv", 923, 787)])
def test_ncbi_disease_has_its_sentences_and_entities(shared_data, file, sentences, entities):
    found = Reading(shared_data / "ncbi-disease" / file)
    assert (len(found), sum(len(example.spans) for example in found)) == (sentences, entities)


@pytest.mark.parametrize(("file", "rows", "empty"), [("train.tsv", 24001, 2), ("dev.tsv", 2199, 0)])
def test_germeval_has_its_rows_and_the_empty_ones_are_counted(shared_data, file, rows, empty):
    found = Reading(shared_data / "germeval14" / file)
    counts = found.audit.counts
    assert (found.audit.flow("examples").taken, counts["empty"], len(found)) == (rows, empty, rows - empty)


def test_germeval_quotes_are_undone_and_each_entity_tag_starts_a_span(shared_data):
    path = shared_data / "germeval14" / "dev.tsv"
    found = Reading(path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [example.text for example in found] == [" ".join(row["Sentence"].split()) for row in rows]
    assert sum(len(example.spans) for example in found) == sum(row["Slot"].count("B-") for row in rows)


@pytest.mark.parametrize("language", ["en", "de"])
def test_wikineural_integers_are_named_by_data_labels(shared_data, language):
    path = shared_data / "wikineural" / f"val_{language}.jsonl"
    names = ["O", *(f"{prefix}-{kind}" for kind in ("PER", "ORG", "LOC", "MISC") for prefix in "BI")]
    found = Reading(path, labels=names)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(found) == {"en": 11590, "de": 12330}[language]
    assert [len(example.spans) for example in found] == [len(get_entities([names[tag] for tag in row["ner_tags"]])) for row in rows]


def test_ewt_dev_has_its_sentences_words_and_documents(shared_data):
    path = shared_data / "ud-en-ewt" / "en_ewt-ud-dev.conllu"
    found = Reading(path, "pos")
    lines = path.read_text("utf-8").split("\n")
    assert len(found) == 2001
    assert sum(len(example.words) for example in found) == sum(line.split("\t")[0].isdigit() for line in lines)
    assert len({example.document for example in found}) == sum(line.startswith("# newdoc id") for line in lines)


def test_ewt_dev_texts_are_those_of_its_comments_unless_a_token_is_respelt(shared_data):
    path = shared_data / "ud-en-ewt" / "en_ewt-ud-dev.conllu"
    given = [line.removeprefix("# text = ") for line in path.read_text("utf-8").split("\n") if line.startswith("# text = ")]
    found = Reading(path, "pos")
    different = sum(example.text.split() != text.split() for example, text in zip(found, given, strict=True))
    assert different <= found.audit.counts["multi-word tokens respelt"]


@pytest.mark.slow
def test_ewt_train_has_its_sentences(shared_data):
    assert len(Reading(shared_data / "ud-en-ewt" / "en_ewt-ud-train.conllu", "pos")) == 12544


GLUE = [
    ("CoLA", "classify", (8551, 1043), {"header": False, "text": 3, "label": 1}),
    ("RTE", "classify", (2490, 277), {}),
    ("SST-2", "classify", (67349, 872), {}),
    ("STS-B", "regress", (5749, 1500), {}),
]


@pytest.mark.parametrize(("task", "kind", "rows", "settings"), GLUE)
def test_glue_files_have_their_rows(shared_data, task, kind, rows, settings):
    found = [Reading(shared_data / "glue" / task / f"{split}.tsv", kind, **settings) for split in ("train", "dev")]
    assert tuple(len(part) for part in found) == rows


@pytest.mark.parametrize("task", ["RTE", "STS-B"])
def test_glue_pairs_keep_their_raw_quotes(shared_data, task):
    path = shared_data / "glue" / task / "dev.tsv"
    rows = [line.rstrip("\r").split("\t") for line in path.read_text("utf-8").split("\n") if line.strip()]
    first, second = rows[0].index("sentence1"), rows[0].index("sentence2")
    found = Reading(path, "regress" if task == "STS-B" else "classify")
    assert [(example.text, example.text_b) for example in found] == [(row[first], row[second]) for row in rows[1:]]


@pytest.mark.parametrize(("file", "rows"), [("train.tsv", 43410), ("dev.tsv", 5426)])
def test_goemotions_has_its_rows_and_labels(shared_data, file, rows):
    path = shared_data / "goemotions" / file
    names = str(shared_data / "goemotions" / "labels.txt")
    found = Reading(path, "multilabel", header=False, text=0, label=1, labels=names)
    numbers = [line.split("\t")[1].count(",") + 1 for line in path.read_text("utf-8").split("\n") if line]
    assert len(found) == rows
    assert [len(example.labels) for example in found] == numbers


@pytest.mark.parametrize(("file", "rows"), [("Corona_NLP_train.csv", 999), ("Corona_NLP_test.csv", 1000)])
def test_corona_tweets_keep_every_character(shared_data, file, rows):
    path = shared_data / "corona" / file
    found = Reading(path, "classify", text="OriginalTweet", label="Sentiment")
    with path.open(encoding="utf-8", newline="") as opened:
        theirs = [row["OriginalTweet"] for row in csv.DictReader(opened)]
    assert len(found) == rows
    assert [example.text for example in found] == theirs


def test_no_file_says_what_is_near(tmp_path):
    written(tmp_path, "train.conll", conll())
    with pytest.raises(DataError, match=r"trian\.conll: no such file; did you mean 'train\.conll'\?"):
        Reading(tmp_path / "trian.conll")


def test_spans_are_named_tuples(tmp_path):
    assert Reading(written(tmp_path, "a.conll", conll()))[0].spans[0] == Span(0, 9, "PER")


@pytest.mark.parametrize(("kind", "wanted"), [("classify", "no label"), ("regress", "no label")])
def test_spans_are_no_labels_of_a_sequence_task(tmp_path, kind, wanted):
    (tmp_path / "a.conll").write_text("Anna\tB-PER\nsleeps\tO\n", "utf-8")
    with pytest.raises(DataError, match=wanted):
        list(read([str(tmp_path / "a.conll")], DataSettings(), kind, Audit()))


def test_the_text_is_not_guessed_where_several_columns_are_left(tmp_path):
    (tmp_path / "a.csv").write_text("date,tweet,label\n2020,fine,x\n", "utf-8")
    with pytest.raises(DataError, match="no column for the text; there are: date, tweet, label"):
        list(read([str(tmp_path / "a.csv")], DataSettings(), "classify", Audit()))


def test_white_space_at_the_edges_of_a_token_is_not_of_the_word(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["in", "\\u00a0Paris ", "now"], "tags": ["O", "B-LOC", "O"]}\n', "utf-8")
    [example] = read([str(tmp_path / "a.jsonl")], DataSettings(), "ner", Audit())
    assert [example.text[span.start : span.end] for span in example.spans] == ["Paris"]
    assert [example.text[start:end] for start, end in example.words] == ["in", "Paris", "now"]


def test_a_file_of_bad_lines_is_no_empty_file(tmp_path):
    (tmp_path / "a.jsonl").write_text("{broken\n", "utf-8")
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected a JSON object"):
        list(read([str(tmp_path / "a.jsonl")], DataSettings(format="jsonl"), "ner", Audit(), labels_needed=False))
