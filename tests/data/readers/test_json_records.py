import json

import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError


def lines(*records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def spans_of(found):
    return [example.spans for example in found]


def labels_of(found):
    return [example.labels for example in found]


def test_multilabel_takes_lists_and_an_empty_list_is_a_label_too(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "fine", "labels": ["x", "y"]}\n{"text": "fair", "labels": []}\n'), "multilabel")
    assert labels_of(found) == [("x", "y"), ()]


def test_integers_are_names_in_the_order_of_data_labels(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "fine", "label": 1}\n{"text": "fair", "label": 0}\n')
    assert labels_of(Reading(path, "classify", labels={"good": 1, "bad": 0})) == [("good",), ("bad",)]


def test_integers_without_names_are_their_own_names(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "fine", "label": 1}\n'), "classify")
    assert found[0].labels == ("1",)


def test_blank_lines_are_no_records(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '\n{"text": "fine", "label": "x"}\n\n{"text": "fair", "label": "y"}\n'), "classify")
    assert [example.id for example in found] == ["a.jsonl:2", "a.jsonl:4"]


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "one\u2028two\x85three", "label": "x"}\n'), "classify")
    assert found[0].text == "one\u2028two\x85three"


@pytest.mark.parametrize("kind", ["classify", "regress"])
def test_pairs_are_found_by_their_names(tmp_path, kind):
    found = Reading(written(tmp_path, "a.jsonl", '{"premise": "a", "hypothesis": "b", "label": 2}\n'), kind)
    assert (found[0].text, found[0].text_b) == ("a", "b")


def test_a_key_that_stands_only_in_a_later_record_is_found(tmp_path):
    content = '{"text": "fine", "note": 1}\n{"text": "fair", "label": "x"}\n'
    found = Reading(written(tmp_path, "a.jsonl", content), "classify", on_error="quarantine")
    assert labels_of(found) == [("x",)]


def test_a_usual_key_that_comes_after_the_columns_were_chosen_is_said(tmp_path):
    records = [{"text": "fine", "label": "x"}] * 100 + [{"text": "fair", "label": "y", "answer": "reject"}]
    found = Reading(written(tmp_path, "a.jsonl", lines(*records)), "classify")
    assert found.audit.events["keys that come too late"][0]["where"] == "a.jsonl:101"
    assert found.audit.events["keys that come too late"][0]["detail"].startswith("answer: ")


def test_one_object_with_a_list_of_spans_is_one_example(tmp_path):
    found = Reading(written(tmp_path, "a.json", '{\n"text": "Oslo", "spans": [{"start": 0, "end": 4, "label": "LOC"}]}'))
    assert [(example.text, example.spans) for example in found] == [("Oslo", ((0, 4, "LOC"),))]


def test_spans_may_have_types_instead_of_labels(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", '{"text": "Oslo", "entities": [{"start": 0, "end": 4, "type": "LOC"}]}\n'))
    assert found[0].spans == ((0, 4, "LOC"),)


def test_an_object_without_anything_is_a_bad_row(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected a JSON object with a text, found \{\}"):
        Reading(written(tmp_path, "a.jsonl", "{}\n"), labels_needed=False)


# -- spaCy -------------------------------------------------------------------------------------------------------------

PAIRS = [["Anna left Oslo", {"entities": [[0, 4, "PER"], [10, 14, "LOC"]]}], ["calm", {"entities": []}]]
ENTITIES = [((0, 4, "PER"), (10, 14, "LOC")), ()]


@pytest.mark.parametrize("file", ["a.jsonl", "a.json", "a"])
def test_spacy_pairs_in_lines(file, tmp_path):
    found = Reading(written(tmp_path, file, lines(*PAIRS)))
    assert ([example.text for example in found], spans_of(found)) == (["Anna left Oslo", "calm"], ENTITIES)


@pytest.mark.parametrize("indent", [None, 1])
def test_spacy_pairs_in_a_list(indent, tmp_path):
    assert spans_of(Reading(written(tmp_path, "a.json", json.dumps(PAIRS, indent=indent)))) == ENTITIES


def test_spacy_documents(tmp_path):
    document = {
        "text": "to Oslo",
        "ents": [{"start": 3, "end": 7, "label": "LOC"}],
        "tokens": [{"id": 0, "start": 0, "end": 2}, {"id": 1, "start": 3, "end": 7}],
    }
    found = Reading(written(tmp_path, "a.json", json.dumps([document])))
    assert (found[0].spans, found[0].words) == (((3, 7, "LOC"),), ((0, 2), (3, 7)))


CATS = [["fine", {"cats": {"good": 1.0, "bad": 0.0}}], ["fair", {"cats": {"good": 0, "bad": True}}]]


def test_spacy_cats_are_the_label(tmp_path):
    assert labels_of(Reading(written(tmp_path, "a.jsonl", lines(*CATS)), "classify")) == [("good",), ("bad",)]


def test_several_cats_are_labels(tmp_path):
    content = lines(["fine", {"cats": {"good": 0.9, "short": 0.5, "bad": 0.49}}])
    assert labels_of(Reading(written(tmp_path, "a.jsonl", content), "multilabel")) == [("good", "short")]


@pytest.mark.parametrize("cats", [{"good": 0.9, "bad": 0.8}, {"good": 0.1}])
def test_cats_that_are_not_one_label_are_refused(cats, tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected one label, found \{"):
        Reading(written(tmp_path, "a.jsonl", lines(["fine", {"cats": cats}])), "classify")


# -- Prodigy -----------------------------------------------------------------------------------------------------------

PRODIGY = {
    "text": "don't go",
    "tokens": [
        {"text": "do", "start": 0, "end": 2, "id": 0, "ws": False}, {"text": "n't", "start": 2, "end": 5, "id": 1, "ws": True},
        {"text": "go", "start": 6, "end": 8, "id": 2, "ws": False},
    ],
    "spans": [{"start": 2, "end": 8, "token_start": 1, "token_end": 2, "label": "NO"}],
    "_input_hash": -1, "_task_hash": 2, "answer": "accept",
}  # fmt: skip


def test_prodigy_spans_and_its_words(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(PRODIGY)))
    assert (found[0].spans, found[0].words) == (((2, 8, "NO"),), ((0, 2), (2, 5), (6, 8)))


def test_only_what_an_annotator_accepted_is_used(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(PRODIGY, PRODIGY | {"answer": "reject"}, PRODIGY | {"answer": "ignore"})))
    assert (len(found), found.audit.flow("examples").dropped) == (1, {"not accepted": 2})


def test_prodigy_words_serve_prediction(tmp_path):
    record = {key: PRODIGY[key] for key in ("text", "tokens")}
    found = Reading(written(tmp_path, "a.jsonl", lines(record)), labels_needed=False)
    assert (found[0].text, found[0].words) == ("don't go", ((0, 2), (2, 5), (6, 8)))


@pytest.mark.parametrize("token", [{"start": 6, "end": 9}, {"start": 4, "end": 8}, {"start": 8, "end": 6}])
def test_words_outside_the_text_or_over_each_other_are_refused(token, tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected words one after another inside the text of 8 characters, found \d-\d"):
        Reading(written(tmp_path, "a.jsonl", lines(PRODIGY | {"tokens": [*PRODIGY["tokens"][:2], token]})))


def test_words_as_they_stand_in_the_text_are_found_in_it(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines({"text": "go, go!", "tokens": ["go", ",", "go", "!"], "spans": []})))
    assert found[0].words == ((0, 2), (2, 3), (4, 6), (6, 7))


@pytest.mark.parametrize("answer", [{"label": "good"}, {"accept": ["good"], "options": [{"id": "good"}, {"id": "bad"}]}])
def test_prodigy_labels_and_choices(answer, tmp_path):
    content = lines({"text": "fine", **answer, "answer": "accept"}, {"text": "fair", **answer, "answer": "ignore"})
    assert labels_of(Reading(written(tmp_path, "a.jsonl", content), "classify")) == [("good",)]


def test_several_choices_are_labels(tmp_path):
    content = lines({"text": "fine", "accept": ["good", "short"], "answer": "accept"}, {"text": "fair", "accept": [], "answer": "accept"})
    assert labels_of(Reading(written(tmp_path, "a.jsonl", content), "multilabel")) == [("good", "short"), ()]


# -- Doccano, GLiNER ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["label", "labels"])
def test_doccano_labels_as_lists(key, tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines({"id": 7, "text": "to Oslo", key: [[3, 7, "LOC"]], "Comments": []})))
    assert (found[0].id, found[0].spans) == ("7", ((3, 7, "LOC"),))


def test_doccano_relations_are_counted_as_not_used(tmp_path):
    entities = [
        {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 4},
        {"id": 2, "label": "LOC", "start_offset": 10, "end_offset": 14},
    ]
    record = {"id": 7, "text": "Anna left Oslo", "entities": entities, "relations": [{"id": 3, "from_id": 1, "to_id": 2, "type": "in"}]}
    for content in (lines(record), json.dumps([record]), json.dumps(record, indent=1)):
        found = Reading(written(tmp_path, "a.json", content))
        assert spans_of(found) == [ENTITIES[0]]
        assert found.audit.flow("relations").dropped == {"relations not used": 1}


@pytest.mark.parametrize(("kind", "label", "expected"), [("classify", ["good"], ("good",)), ("multilabel", ["a", "b"], ("a", "b"))])
def test_doccano_classes(kind, label, expected, tmp_path):
    assert labels_of(Reading(written(tmp_path, "a.jsonl", lines({"id": 7, "text": "fine", "label": label})), kind)) == [expected]


GLINER = {"tokenized_text": ["Anna", "Berg", "left", "Oslo"], "ner": [[0, 1, "PER"], [3, 3, "LOC"]]}


def test_gliner_numbers_tokens_the_last_included(tmp_path):
    found = Reading(written(tmp_path, "a.json", json.dumps([GLINER])))
    assert (found[0].text, found[0].spans) == ("Anna Berg left Oslo", ((0, 9, "PER"), (15, 19, "LOC")))
    assert found[0].words == ((0, 4), (5, 9), (10, 14), (15, 19))


def test_gliner_entities_that_overlap_are_settled_and_counted(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(GLINER | {"ner": [[0, 1, "PER"], [0, 0, "NAME"]]})))
    assert (spans_of(found), found.audit.counts["spans overlapping"]) == ([((0, 9, "PER"),)], 1)


@pytest.mark.parametrize("entity", [[0, 4, "PER"], [-1, 0, "PER"], [2, 1, "PER"]])
def test_gliner_entities_of_tokens_that_are_not_there_are_refused(entity, tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected an entity of tokens 0 to 3, found "):
        Reading(written(tmp_path, "a.jsonl", lines(GLINER | {"ner": [entity]})))


# -- tokens with tags --------------------------------------------------------------------------------------------------


def test_meta_extractor_tags(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines({"ner_tags": ["O", "B-SITE", "I-SITE"], "tokens": ["at", "Lake", "Ladoga"]})))
    assert (found[0].text, found[0].spans) == ("at Lake Ladoga", ((3, 14, "SITE"),))


MULTINERD = [
    {"tokens": ["Anna", "has", "flu"], "ner_tags": [1, 0, 13], "lang": "en"},
    {"tokens": ["Anna", "hat", "Grippe"], "ner_tags": [1, 0, 13], "lang": "de"},
    {"tokens": ["the", "grey", "heron"], "ner_tags": [0, 7, 8], "lang": "en"},
]
ALL = {"O": 0, "B-PER": 1, "I-PER": 2, "B-ANIM": 7, "I-ANIM": 8, "B-DIS": 13, "I-DIS": 14}
SOME = {name: number for name, number in ALL.items() if "ANIM" not in name}


def test_one_language_is_kept_and_the_others_are_counted(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(*MULTINERD)), labels=ALL, language="en")
    assert [example.text for example in found] == ["Anna has flu", "the grey heron"]
    assert found.audit.flow("examples").dropped == {"other languages": 1}


def test_ids_with_gaps_become_names(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(*MULTINERD)), labels=ALL, language="en")
    assert spans_of(found) == [((0, 4, "PER"), (9, 12, "DIS")), ((4, 14, "ANIM"),)]


def test_kept_labels_leave_the_others_out_and_count_them(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(*MULTINERD)), labels=ALL, language="en", keep_labels=["PER", "DIS"])
    assert spans_of(found) == [((0, 4, "PER"), (9, 12, "DIS")), ()]
    assert found.audit.flow("spans").dropped == {"labels not kept": 1}


def test_an_unknown_id_is_named_with_its_place(tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:3: label '7' is not in data\.labels"):
        Reading(written(tmp_path, "a.jsonl", lines(*MULTINERD)), labels=SOME)


def test_unknown_ids_are_outside_where_labels_are_kept_by_name_and_counted(tmp_path):
    found = Reading(written(tmp_path, "a.jsonl", lines(*MULTINERD)), labels=SOME, keep_labels=["PER", "DIS"], language="en")
    assert spans_of(found) == [((0, 4, "PER"), (9, 12, "DIS")), ()]
    assert found.audit.counts["tags without a name"] == 2
    assert found.audit.events["tags without a name"][0]["where"] == "a.jsonl:3"


@pytest.mark.parametrize("tags", [[{"a": 1}], [None], [1.5], [["B-X"]]])
def test_tags_that_are_none_are_refused(tags, tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected tags as names or integers, found "):
        Reading(written(tmp_path, "a.jsonl", lines({"tokens": ["a"], "tags": tags})))


@pytest.mark.parametrize("tokens", [[{"text": "a"}], [["a"]]])
def test_tokens_that_are_none_are_refused(tokens, tmp_path):
    with pytest.raises(DataError, match=r"a\.jsonl:1: expected a token as text, found "):
        Reading(written(tmp_path, "a.jsonl", lines({"tokens": tokens, "tags": ["O"]})))
