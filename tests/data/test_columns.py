import pytest

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.columns import find_columns
from tunny.data.settings import DataSettings
from tunny.data.source import Source

FOUND = {  # keys, kind, settings, and which column is what
    "HF's tokens and tags of the task": ("id tokens pos_tags ner_tags", "pos", {}, {"id": "id", "tokens": "tokens", "tags": "pos_tags"}),
    "the tags of another task are not taken": ("tokens chunk_tags tags", "ner", {}, {"tokens": "tokens", "tags": "tags"}),
    "PyMarlin": ("Sentence Slot", "ner", {}, {"tokens": "Sentence", "tags": "Slot"}),
    "a sentence alone is a text": ("Sentence Label", "classify", {}, {"text": "Sentence", "label": "Label"}),
    "text beside spans": ("text entities", "ner", {}, {"text": "text", "spans": "entities"}),
    "Prodigy": ("text tokens spans answer meta", "ner", {}, {"text": "text", "words": "tokens", "spans": "spans", "answer": "answer", "meta": "meta"}),
    "tags win over the text": ("text tokens ner_tags", "ner", {}, {"tokens": "tokens", "tags": "ner_tags"}),
    "GLiNER": ("tokenized_text ner", "ner", {}, {"tokens": "tokenized_text", "spans": "ner"}),
    "predictions of pos": ("id text words tags", "pos", {}, {"id": "id", "text": "text", "words": "words", "tags": "tags"}),
    "MultiNERD": ("tokens ner_tags lang", "ner", {"language": "en"}, {"tokens": "tokens", "tags": "ner_tags", "language": "lang"}),
    "GLUE's pairs": ("question1 question2 label", "classify", {}, {"text": "question1", "text_b": "question2", "label": "label"}),
    "a named text has no second one": ("sentence1 sentence2 label", "classify", {"text": "sentence1"}, {"text": "sentence1", "label": "label"}),
    "a score before a label": ("text label score", "regress", {}, {"text": "text", "label": "score"}),
    "settings before names": ("text body label grade", "classify", {"text": "body", "label": "grade"}, {"text": "body", "label": "grade"}),
    "the first two, as HF does": ("first second third", "ner", {}, {"tokens": "first", "tags": "second"}),
    "the only one left": ("tweet label", "classify", {}, {"text": "tweet", "label": "label"}),
    "documents": ("text label doc_id", "classify", {}, {"text": "text", "label": "label", "document": "doc_id"}),
    "documents as named": ("text label book", "classify", {"group_by": "book"}, {"text": "text", "label": "label", "document": "book"}),
}  # fmt: skip


def columns_of(folder, keys, kind, settings):
    source = Source(folder / "a.csv", DataSettings(**settings), kind, None, Audit())
    return find_columns(source, keys), source.audit


@pytest.mark.parametrize("name", FOUND)
def test_columns_are_found_by_settings_names_and_place(name, tmp_path):
    keys, kind, settings, expected = FOUND[name]
    columns, _ = columns_of(tmp_path, keys.split(), kind, settings)
    assert columns == expected


def test_what_was_chosen_is_said_and_what_is_not_used(tmp_path):
    _, audit = columns_of(tmp_path, ["text", "label", "note"], "classify", {})
    assert audit.notes == ["a.csv: columns text = text, label = label; not used: note"]


def test_the_choice_by_place_is_said(tmp_path):
    _, audit = columns_of(tmp_path, ["first", "second"], "ner", {})
    assert audit.notes[0] == "a.csv: no usual names, so the first column is taken as tokens, the second as tags"


@pytest.mark.parametrize(("text", "label"), [(0, 1), (1, 0)])
def test_numbered_columns_may_be_the_first_ones(text, label, tmp_path):
    columns, _ = columns_of(tmp_path, [0, 1, 2], "classify", {"text": text, "label": label, "header": False})
    assert (columns["text"], columns["label"]) == (text, label)


NONE = {
    "tags of another task": ("tokens ner_tags", "pos", "no column for tags or spans; there are: tokens, ner_tags. Set data.tags or data.label."),
    "no label": ("text note", "classify", "no column for the label; there are: text, note. Set data.label."),
    "no text": ("one two three", "classify", "no column for the text; there are: one, two, three. Set data.text or data.tokens."),
    "no tags beside GLiNER's tokens": ("tokenized_text", "ner", "no column for tags or spans; there are: tokenized_text."),
}  # fmt: skip


@pytest.mark.parametrize("name", NONE)
def test_what_is_missing_is_named(name, tmp_path):
    keys, kind, message = NONE[name]
    with pytest.raises(DataError) as caught:
        columns_of(tmp_path, keys.split(), kind, {})
    assert message in str(caught.value)


def test_a_wanted_language_needs_a_column(tmp_path):
    with pytest.raises(DataError, match=r"no column lang or language for data\.language; there are: tokens, tags"):
        columns_of(tmp_path, ["tokens", "tags"], "ner", {"language": "en"})


def test_huggingface_scripts_read_the_same_first_two_columns(tmp_path):
    found = Reading(written(tmp_path, "a.csv", "a,b\nto Oslo,O B-LOC\n"))
    assert found[0].spans == ((3, 7, "LOC"),)
