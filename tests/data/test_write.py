import csv
import json
import re
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import ConfigError, DataError, RunError
from tunny.data.audit import Audit
from tunny.data.example import Example, Origin, Span
from tunny.data.find import look_at
from tunny.data.settings import DataSettings
from tunny.data.write import CHUNK, FORMATS, studio_task, write_examples

HARBOUR = Example(
    "h1",
    "Ada Voss left Oslo.",
    (Span(0, 8, "PER"), Span(14, 18, "LOC")),
    document="log",
    words=((0, 3), (4, 8), (9, 13), (14, 18), (18, 19)),
)
EMPTY = Example("h2", "No one came .", (), document="log", words=((0, 2), (3, 6), (7, 11), (12, 13)))
FREE = Example("f1", "Ada left", (Span(0, 3, "PER"),), meta={"page": 3})
SWIMS = Example("s1", "Cod swims", (Span(0, 3, "NOUN"), Span(4, 9, "VERB")), document="sea", words=((0, 3), (4, 9)))
RAIN = Example("s2", "It rains", (Span(0, 2, "PRON"),), document="sky", words=((0, 2), (3, 8)))
SEA = Example("1", 'a "big", wide\nsea', labels=("sea",))
PAIR = Example("1", "A cod.", labels=("same",), text_b="A fish.", document="d")
BOTH = Example("1", "Cod prices", labels=("sea", "news, world"))
NONE = Example("2", "Hm", labels=())
SCORE = Example("1", "fine", score=2.5)


def write(folder, form, kind, *made):
    """Write examples; return the path and the audit."""
    audit = Audit()
    path = folder / f"made.{form}"
    assert write_examples(path, form, made, kind, audit) == len(made)
    audit.settle()
    return path, audit


def content(folder, form, kind, *made):
    return write(folder, form, kind, *made)[0].read_bytes().decode()


def losses(folder, form, kind, *made):
    return {kind: audit_count for kind, audit_count in write(folder, form, kind, *made)[1].counts.items() if " to write" not in kind}


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# -- what each format looks like ---------------------------------------------------------------------------------------


def test_conll_is_a_word_a_tab_and_a_tag_a_line_with_a_blank_line_after_each_example(tmp_path):
    expected = "Ada\tB-PER\nVoss\tI-PER\nleft\tO\nOslo\tB-LOC\n.\tO\n\nNo\tO\none\tO\ncame\tO\n.\tO\n\n"
    assert content(tmp_path, "conll", "ner", HARBOUR, EMPTY) == expected


def test_conll_of_a_text_without_words_has_those_that_are_found(tmp_path):
    assert content(tmp_path, "conll", "ner", FREE) == "Ada\tB-PER\nleft\tO\n\n"


def test_conll_of_parts_of_speech_has_an_underscore_where_there_is_none(tmp_path):
    assert content(tmp_path, "conll", "pos", RAIN) == "It\tPRON\nrains\t_\n\n"


def test_conllu_has_ten_columns_ids_texts_and_documents_where_they_begin(tmp_path):
    other = Example("s3", "Cod!", (Span(0, 3, "NOUN"), Span(3, 4, "PUNCT")), document="sky", words=((0, 3), (3, 4)))
    assert content(tmp_path, "conllu", "pos", SWIMS, RAIN, other) == (
        "# newdoc id = sea\n# sent_id = s1\n# text = Cod swims\n"
        "1\tCod\t_\tNOUN\t_\t_\t_\t_\t_\t_\n2\tswims\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n"
        "# newdoc id = sky\n# sent_id = s2\n# text = It rains\n"
        "1\tIt\t_\tPRON\t_\t_\t_\t_\t_\t_\n2\trains\t_\t_\t_\t_\t_\t_\t_\t_\n\n"
        "# sent_id = s3\n# text = Cod!\n"
        "1\tCod\t_\tNOUN\t_\t_\t_\t_\t_\tSpaceAfter=No\n2\t!\t_\tPUNCT\t_\t_\t_\t_\t_\t_\n\n"
    )


def test_spans_is_exactly_id_text_spans_and_meta_with_words_and_document_in_it(tmp_path):
    first, second = (json.loads(line) for line in content(tmp_path, "spans", "ner", HARBOUR, FREE).splitlines())
    assert first == {
        "id": "h1", "text": "Ada Voss left Oslo.",
        "spans": [{"start": 0, "end": 8, "label": "PER"}, {"start": 14, "end": 18, "label": "LOC"}],
        "meta": {"words": [[0, 3], [4, 8], [9, 13], [14, 18], [18, 19]], "document": "log"},
    }  # fmt: skip
    assert second == {"id": "f1", "text": "Ada left", "spans": [{"start": 0, "end": 3, "label": "PER"}], "meta": {"page": 3}}


@pytest.mark.parametrize(
    ("kind", "made", "record"),
    [
        ("ner", EMPTY, {"id": "h2", "doc_id": "log", "tokens": ["No", "one", "came", "."], "ner_tags": ["O"] * 4}),
        ("chunk", EMPTY, {"id": "h2", "doc_id": "log", "tokens": ["No", "one", "came", "."], "chunk_tags": ["O"] * 4}),
        ("pos", SWIMS, {"id": "s1", "doc_id": "sea", "tokens": ["Cod", "swims"], "pos_tags": ["NOUN", "VERB"]}),
        ("ner", FREE, {"id": "f1", "text": "Ada left", "spans": [{"start": 0, "end": 3, "label": "PER"}], "meta": {"page": 3}}),
        ("classify", SEA, {"id": "1", "text": 'a "big", wide\nsea', "label": "sea"}),
        ("classify", PAIR, {"id": "1", "doc_id": "d", "text": "A cod.", "text_b": "A fish.", "label": "same"}),
        ("multilabel", BOTH, {"id": "1", "text": "Cod prices", "labels": ["sea", "news, world"]}),
        ("multilabel", NONE, {"id": "2", "text": "Hm", "labels": []}),
        ("regress", SCORE, {"id": "1", "text": "fine", "score": 2.5}),
    ],
)
def test_records_of_each_kind(tmp_path, kind, made, record):
    assert list(json.loads(content(tmp_path, "jsonl", kind, made)).items()) == list(record.items())
    assert json.loads(content(tmp_path, "json", kind, made)) == [record]
    meta = {"meta": '{"page": 3}'} if "meta" in record else {}
    assert pq.read_table(write(tmp_path, "parquet", kind, made)[0]).to_pylist() == [{**record, **meta}]
    for form, mark in (("csv", ","), ("tsv", "\t")):
        with write(tmp_path, form, kind, made)[0].open(encoding="utf-8", newline="") as file:
            [row] = csv.DictReader(file, delimiter=mark)
        assert row == {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}


def test_json_is_a_list_with_an_example_a_line(tmp_path):
    line = '{"id": "1", "text": "fine", "score": 2.5}'
    assert content(tmp_path, "json", "regress", SCORE, SCORE) == f"[\n{line},\n{line}\n]\n"


def test_only_cells_that_need_quotes_have_them_and_the_names_of_tsv(tmp_path):
    made = [SEA, Example("2", "=1+1", labels=("sum",)), Example("3", " two\tthree ", labels=("' '",))]
    assert content(tmp_path, "csv", "classify", *made) == (
        'id,text,label\n1,"a ""big"", wide\nsea",sea\n2,=1+1,sum\n3," two\tthree ",\' \'\n'
    )
    assert content(tmp_path, "tsv", "classify", *made).startswith('"id"\t"text"\t"label"\n1\t"a ""big"", wide\nsea"\tsea\n2\t=1+1\tsum\n')


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("ner", {"id": pa.string(), "doc_id": pa.string(), "tokens": pa.list_(pa.string()), "ner_tags": pa.list_(pa.string())}),
        ("multilabel", {"id": pa.string(), "text": pa.string(), "labels": pa.list_(pa.string())}),
        ("regress", {"id": pa.string(), "text": pa.string(), "score": pa.float64()}),
    ],
)
def test_columns_of_parquet_have_their_types_even_where_all_values_are_empty(tmp_path, kind, types):
    made = {"ner": Example("1", " ", (), document="d", words=()), "multilabel": NONE, "regress": SCORE}[kind]
    schema = pq.read_schema(write(tmp_path, "parquet", kind, made)[0])
    assert {name: schema.field(name).type for name in schema.names} == {
        name: pa.list_(pa.field("element", pa.string())) if pa.types.is_list(value) else value for name, value in types.items()
    }


# -- Label Studio ------------------------------------------------------------------------------------------------------


def test_a_task_of_label_studio_has_its_data_and_one_annotation(tmp_path):
    [task] = json.loads(content(tmp_path, "label-studio", "ner", HARBOUR))
    region = {"from_name": "label", "to_name": "text", "type": "labels"}
    assert task == {
        "data": {"id": "h1", "doc_id": "log", "text": "Ada Voss left Oslo."},
        "annotations": [
            {
                "result": [
                    {"id": "r1", **region, "value": {"start": 0, "end": 8, "text": "Ada Voss", "labels": ["PER"]}},
                    {"id": "r2", **region, "value": {"start": 14, "end": 18, "text": "Oslo", "labels": ["LOC"]}},
                ],
                "ground_truth": False,
            }
        ],
    }


@pytest.mark.parametrize(
    ("kind", "made", "result"),
    [
        ("classify", SEA, [("choices", {"choices": ["sea"]})]),
        ("multilabel", BOTH, [("choices", {"choices": ["sea", "news, world"]})]),
        ("multilabel", NONE, []),
        ("regress", SCORE, [("number", {"number": 2.5})]),
        ("regress", Example("1", "x", score=0.0), [("number", {"number": 0.0})]),
    ],
)
def test_choices_and_numbers_are_of_the_whole_text(tmp_path, kind, made, result):
    [task] = json.loads(content(tmp_path, "label-studio", kind, made))
    assert [(region["type"], region["value"]) for region in task["annotations"][0]["result"]] == result


def test_an_unlabelled_task_has_no_annotation(tmp_path):
    assert json.loads(content(tmp_path, "label-studio", "ner", Example("1", "Oslo"))) == [
        {"data": {"id": "1", "text": "Oslo"}, "annotations": []}
    ]


def test_a_task_that_was_read_is_the_same_again(tmp_path):
    value = {"start": 2, "end": 6, "text": "Oslo", "labels": ["LOC"]}
    result = [{"id": "r1", "from_name": "entity", "to_name": "body", "type": "labels", "value": value}]
    task = {"id": 7, "data": {"ref": 4, "lang": "no", "body": "i Oslo"}, "annotations": [{"result": result, "ground_truth": False}]}
    source = Reading(written(tmp_path, "export.json", json.dumps([task])), text="body")
    assert json.loads(content(tmp_path, "label-studio", "ner", *source)) == [task]


@pytest.mark.parametrize(("typed", "value"), [("rating", 4), ("number", 0.5)])
def test_a_number_is_of_the_type_of_its_control(tmp_path, typed, value):
    result = [{"from_name": "stars", "to_name": "text", "type": typed, "value": {typed: value}}]
    source = written(tmp_path, "export.json", json.dumps([{"id": 7, "data": {"text": "Oslo"}, "annotations": [{"result": result}]}]))
    [task] = json.loads(content(tmp_path, "label-studio", "regress", *Reading(source, "regress")))
    assert task["annotations"][0]["result"] == [{"id": "r1", **result[0]}]


def test_examples_of_one_task_lose_their_own_ids(tmp_path):
    result = {"result": [{"from_name": "l", "to_name": "t", "type": "labels", "value": {"start": 0, "end": 4, "labels": ["LOC"]}}]}
    task = {"id": 7, "data": {"text": "Oslo"}, "annotations": [{"id": 1, **result}, {"id": 2, **result}]}
    source = Reading(written(tmp_path, "export.json", json.dumps([task])), annotators="each")
    assert losses(tmp_path, "label-studio", "ner", *source) == {"ids lost": 2}


# -- what is lost is counted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "kind", "made", "lost"),
    [
        ("conll", "ner", EMPTY, {"ids lost": 1, "documents lost": 1}),
        ("conll", "ner", Example("a:3", "Oslo", (), origin=Origin(0, 3)), {}),  # an id that is a place
        ("conll", "ner", HARBOUR, {"ids lost": 1, "documents lost": 1, "spacing lost": 1}),
        ("conllu", "pos", SWIMS, {}),
        ("conllu", "pos", Example("1", "a  b", (), words=((0, 1), (3, 4))), {"spacing lost": 1}),
        ("conllu", "pos", Example("1", "a b ", (), words=((0, 1), (2, 3))), {"spacing lost": 1}),
        ("conllu", "pos", Example("1", "a b", (), words=((0, 1),)), {"text outside words lost": 1}),
        ("conllu", "pos", Example("a\nb", "a", (), document=" d", words=((0, 1),)), {"ids respelt": 1, "documents respelt": 1}),
        ("jsonl", "ner", HARBOUR, {"spacing lost": 1}),
        ("jsonl", "ner", FREE, {}),
        ("spans", "ner", HARBOUR, {}),
        ("label-studio", "ner", HARBOUR, {"words lost": 1}),
        ("label-studio", "ner", FREE, {"meta lost": 1}),
        ("text", "ner", HARBOUR, {"ids lost": 1, "documents lost": 1, "words lost": 1, "labels lost": 1}),
        ("text", "regress", SCORE, {"ids lost": 1, "labels lost": 1}),
        ("text", "classify", PAIR, {"ids lost": 1, "documents lost": 1, "second texts lost": 1, "labels lost": 1}),
        ("text", "classify", Example("1", "a\r\nb"), {"ids lost": 1, "line breaks respelt": 1}),
        ("csv", "classify", Example("1", "a\0b", labels=("x",)), {"NULs replaced": 1}),
        ("jsonl", "classify", Example("1", "a\0b", labels=("x",)), {}),
    ],
)
def test_what_a_format_cannot_hold_is_counted(tmp_path, form, kind, made, lost):
    assert losses(tmp_path, form, kind, made) == lost


@pytest.mark.parametrize("form", ["conll", "jsonl"])
def test_spans_that_words_cannot_say_are_accounted_for(tmp_path, form):
    spans = (Span(0, 3, "A"), Span(4, 6, "B"), Span(6, 8, "C"), Span(9, 10, "D"))
    audit = write(tmp_path, form, "ner", Example("1", "Ada left !", spans, words=((0, 3), (4, 8))))[1]
    flow = audit.flow("spans to write")
    assert (flow.taken, flow.given, flow.repaired) == (4, 2, {"spans snapped to words": 1})
    assert flow.dropped == {"spans inside one word": 1, "spans without words": 1}


@pytest.mark.parametrize(
    ("form", "empty"), [("conll", True), ("csv", True), ("tsv", True), ("jsonl", False), ("parquet", False), ("spans", False)]
)
def test_an_unlabelled_text_that_a_format_cannot_tell_from_one_without_spans_is_counted(tmp_path, form, empty):
    assert losses(tmp_path, form, "ner", Example("f:1", "Oslo", origin=Origin(0, 1))) == ({"missing labels lost": 1} if empty else {})


def test_words_of_conll_have_no_inner_white_space_and_are_never_empty(tmp_path):
    path, audit = write(tmp_path, "conll", "ner", Example("1", "1\u00a0000 x\ty ", (), words=((0, 5), (6, 9), (10, 10))))
    assert path.read_text("utf-8") == "1 000\tO\nx y\tO\n_\tO\n\n"
    assert audit.counts["words respelt"] == 3


def test_words_that_readers_take_for_marks_are_respelt(tmp_path):
    path, audit = write(tmp_path, "conll", "ner", Example("1", "-DOCSTART- # newdoc #", (), words=((0, 10), (11, 19), (20, 21))))
    assert path.read_text("utf-8") == "_-DOCSTART-\tO\n_# newdoc\tO\n#\tO\n\n"
    assert audit.counts["words respelt"] == 2


def test_a_label_with_a_line_break_is_respelt_in_conll(tmp_path):
    path, audit = write(tmp_path, "conll", "ner", Example("1", "May", (Span(0, 3, "date of\nbirth"),)))
    assert path.read_text("utf-8") == "May\tB-date of_birth\n\n"
    assert audit.counts["labels respelt"] == 1


def test_a_sentence_of_no_document_does_not_join_the_one_before(tmp_path):
    path, audit = write(tmp_path, "conllu", "pos", SWIMS, Example("x", "Oh", (Span(0, 2, "INTJ"),), words=((0, 2),)))
    first, second = Reading(path, "pos")
    assert first.document != second.document
    assert audit.counts["documents made up"] == 1


def test_what_comes_after_the_columns_were_chosen_is_counted(tmp_path):
    made = [Example(str(at), "x", labels=("a",)) for at in range(CHUNK)]
    late = Example("late", "x", labels=("a",), document="d", text_b="y", meta={"page": 1})
    assert losses(tmp_path, "csv", "classify", *made, late) == {"documents lost": 1, "second texts lost": 1, "meta lost": 1}


def test_what_only_some_of_the_first_examples_have_gets_a_column(tmp_path):
    found = Reading(write(tmp_path, "jsonl", "classify", SEA, PAIR)[0], "classify")
    assert [(one.document, one.text_b) for one in found] == [(None, None), ("d", "A fish.")]


def test_a_missing_second_text_among_others_is_counted_in_tables(tmp_path):
    assert losses(tmp_path, "csv", "classify", SEA, PAIR) == {"missing second texts lost": 1}


# -- refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "kind", "message"),
    [
        ("conll", "classify", "--to conll: is for ner, pos, chunk; for classify use jsonl, json, csv, tsv, parquet, label-studio"),
        ("conllu", "ner", "--to conllu: is for pos; for ner use conll, jsonl, json, csv, tsv, parquet, spans, label-studio"),
        ("spans", "regress", "--to spans: is for ner, chunk; for regress use"),
        ("spans", "pos", "for pos use conll, conllu, jsonl"),
        ("label-studio", "pos", "--to label-studio: is for ner, chunk, classify, multilabel, regress; for pos use"),
        ("cvs", "ner", "--to: expected one of conll, conllu, .*, text, found 'cvs'; did you mean 'csv'?"),
        ("hub", "ner", "found 'hub'"),
    ],
)
def test_a_format_that_cannot_hold_a_kind_is_refused_with_what_to_use(tmp_path, form, kind, message):
    def never():
        raise AssertionError("nothing is to be read")
        yield

    with pytest.raises(ConfigError, match=re.escape(message).replace(r"\.\*", ".*")):
        write_examples(tmp_path / "new" / "a", form, never(), kind, Audit())
    assert listing(tmp_path) == []


# -- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [form for form, (kinds, _) in FORMATS.items() if "ner" in kinds])
def test_a_failure_while_reading_leaves_nothing_and_keeps_what_was_there(tmp_path, form):
    def made():
        yield from [HARBOUR] * (CHUNK + 1)
        raise DataError("no more")

    (tmp_path / "old").write_text("old")
    for out in ("old", "new/folder/p"):
        with pytest.raises(DataError, match="no more"):
            write_examples(tmp_path / out, form, made(), "ner", Audit())
    assert listing(tmp_path) == ["old"]
    assert (tmp_path / "old").read_text() == "old"


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_an_output_that_cannot_be_written_is_an_error_in_words(tmp_path, form):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for out in ("file/p", "folder"):
        with pytest.raises(RunError, match="cannot be written"):
            write_examples(tmp_path / out, form, [SEA], "classify", Audit())
    assert listing(tmp_path) == ["file", "folder"]


def test_standard_output_gets_the_file_and_nothing_else(capsysbinary):
    assert write_examples("-", "jsonl", [Example("1", "Göteborg", labels=("x",))], "classify", Audit()) == 1
    assert capsysbinary.readouterr().out == '{"id": "1", "text": "Göteborg", "label": "x"}\n'.encode()


@pytest.mark.parametrize(("form", "text"), [("csv", "id,text,label\n"), ("json", "[\n\n]\n"), ("jsonl", ""), ("label-studio", "[\n\n]\n")])
def test_no_examples_are_a_file_of_none(tmp_path, form, text):
    assert content(tmp_path, form, "classify") == text


@pytest.mark.parametrize("form", [form for form, (kinds, _) in FORMATS.items() if "ner" in kinds and form != "text"])
def test_a_written_file_is_known_by_its_looks(tmp_path, form):
    found = look_at(write(tmp_path, form, "ner", HARBOUR, EMPTY)[0], DataSettings()).format
    assert found == ("jsonl" if form == "spans" else form)


@pytest.mark.parametrize("start", ["\ufeffa", "PAR1", "PK\3\4"])
@pytest.mark.parametrize("form", ["conll", "text"])
def test_a_text_that_begins_like_another_kind_of_file_reads_back(tmp_path, form, start):
    path = write(tmp_path, form, "ner", Example("1", start, ()))[0].rename(tmp_path / f"made.{'txt' if form == 'text' else form}")
    assert Reading(path, labels_needed=False)[0].text.replace(" ", "") == start


def test_half_of_a_surrogate_pair_in_meta_stays_what_it_is(tmp_path):
    path, _ = write(tmp_path, "spans", "ner", Example("1", "Oslo", (), meta={"odd": "\ud83d"}))
    assert Reading(path)[0].meta == {"odd": "\ud83d"}


def test_memory_does_not_grow_with_the_number_of_examples(tmp_path):
    def peak(number):
        made = (Example(str(at), f"{at:05}" * 1000, labels=("a",)) for at in range(number))
        tracemalloc.start()
        write_examples(tmp_path / "a", "csv", made, "classify", Audit())
        _, found = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return found

    assert peak(8 * CHUNK) < 1.2 * peak(2 * CHUNK)


def test_other_libraries_read_the_tables(tmp_path):
    datasets = pytest.importorskip("datasets")
    made = [SEA, Example("2", "\t'quoted'\" ", labels=("x",))]
    for form, builder, settings in (("csv", "csv", {}), ("tsv", "csv", {"sep": "\t"}), ("jsonl", "json", {}), ("parquet", "parquet", {})):
        path = str(write(tmp_path, form, "classify", *made)[0])
        rows = datasets.load_dataset(builder, data_files=path, split="train", cache_dir=str(tmp_path / "cache"), **settings)
        assert [(row["text"], row["label"]) for row in rows] == [(one.text, one.labels[0]) for one in made]


def test_columns_called_control_and_object_are_no_names_of_label_studio():
    task = studio_task(Example("7", "Otto", score=1.5, meta={"control": 1, "object": "boat", "type": "rating"}), Audit())
    assert task["annotations"][0]["result"] == [
        {"id": "r1", "from_name": "label", "to_name": "text", "type": "number", "value": {"number": 1.5}}
    ]
