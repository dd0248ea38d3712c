from collections import Counter

import pytest

from tests.data.reading import written
from tunny.core.errors import DataError
from tunny.data.labels import given_names, label_set
from tunny.data.settings import DataSettings

FOUND = {"train": Counter({"PER": 5, "LOC": 2}), "validation": Counter({"ORG": 1})}


def test_types_of_all_splits_become_iob2_tags_in_alphabetical_order():
    labels, reason = label_set("ner", None, FOUND)
    assert labels.names == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")
    assert reason == "collected from all splits, in alphabetical order"


@pytest.mark.parametrize(
    "given", [["PER", "LOC", "ORG"], ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"], ["O", "PER", "LOC", "ORG"]]
)
def test_given_names_may_be_types_or_tags_and_keep_their_order(given):
    assert label_set("ner", given, FOUND)[0].names == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG")


@pytest.mark.parametrize("given", [["B-LOC", "B-ORG", "B-PER", "I-LOC", "I-ORG", "I-PER", "O"], ["B-LOC", "B-ORG", "B-PER", "I-PER", "O"]])
def test_tags_of_iob2_are_the_outputs_as_they_stand(given):
    assert label_set("ner", given, FOUND)[0].names == tuple(given)


@pytest.mark.parametrize(
    "given", [["B-LOC", "B-ORG", "B-PER", "I-PER"], ["O", "I-LOC", "I-ORG", "I-PER"], ["O", "S-LOC", "S-ORG", "B-PER", "I-PER"]]
)
def test_tags_without_o_or_a_beginning_or_of_other_schemes_tell_the_types_only(given):
    names = label_set("ner", given, FOUND)[0].names
    assert names == ("O", "B-LOC", "I-LOC", "B-ORG", "I-ORG", "B-PER", "I-PER")


def test_classes_keep_the_order_they_are_given_in():
    labels, reason = label_set("classify", ["no", "yes"], {"train": Counter({"yes": 3})})
    assert (labels.names, reason, labels.ids) == (("no", "yes"), "data.labels", {"no": 0, "yes": 1})


def test_a_score_has_one_output():
    assert label_set("regress", None, {})[0].names == ("score",)


def test_a_label_that_is_not_given_is_refused_with_the_nearest():
    with pytest.raises(DataError, match=r"train data: label 'yse' is not in data\.labels; did you mean 'yes'\?"):
        label_set("classify", ["no", "yes"], {"train": Counter({"yse": 1})})


def names(given):
    return given_names(DataSettings(labels=given))


def test_a_mapping_gives_names_in_id_order():
    assert list(names({"b": 1, "a": 0, "c": 20}).items()) == [("a", 0), ("b", 1), ("c", 20)]


def test_a_file_gives_a_name_a_line(tmp_path):
    assert names(str(written(tmp_path, "labels.txt", "\ufeffjoy\r\nanger\n\n"))) == {"joy": 0, "anger": 1}


def test_without_names_labels_are_collected():
    assert names(None) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": 0, "b": 0}, "an id stands twice"),
        (["a", "b", "a"], "a name stands twice"),
        ("nowhere.txt", "nowhere.txt: no such file"),
    ],
)
def test_names_that_are_no_names_are_refused(given, message):
    with pytest.raises(DataError, match=message):
        names(given)
