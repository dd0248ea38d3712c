import json

import pytest
from hypothesis import given
from hypothesis import settings as examined
from hypothesis import strategies as st

from tests.data.checking import checked, entities, places, said
from tests.data.readers.label_studio_made import choice
from tests.data.reading import written
from tests.tiny import make_tokenizer
from tunny.data.check import check, lines
from tunny.data.encode import Encoder
from tunny.data.prepare import encode_splits, read_splits
from tunny.data.settings import DataSettings, EncodeSettings

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).filter(str.strip)


def encoder(**settings):
    return Encoder(make_tokenizer("wordpiece-uncased").backend_tokenizer, EncodeSettings(**settings))


def clean(number, start=0):
    """Return texts that have little in common, as numbers in words of their own have."""
    digits = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return [" ".join(digits[int(digit)] for digit in f"{(start + row) * 7919 % 99991:05d}{row * 31 % 97:02d}") for row in range(number)]


def test_clean_data_are_not_accused(tmp_path):
    labels = ["good", "bad"] * 20
    train = [{"text": text, "label": label} for text, label in zip(clean(40), labels, strict=True)]
    test = [{"text": text, "label": label} for text, label in zip(clean(20, 500), labels[:20], strict=True)]
    found = checked(tmp_path, train=train, test=test)
    assert {verdict["level"] for verdict in found["verdicts"]} == {"fine"}


def test_what_there_is_is_counted(tmp_path):
    rows = [entities("Anna is in Oslo", ("Anna", "PER"), ("Oslo", "LOC")), entities("no one")]
    split = checked(tmp_path, "ner", train=rows)["splits"]["train"]
    assert {key: split[key] for key in ("examples", "words", "characters", "spans", "documents", "tokens")} == {
        "examples": 2, "words": 6, "characters": 21, "spans": 2, "documents": 0, "tokens": 0,
    }  # fmt: skip


def test_documents_are_counted(tmp_path):
    rows = [{"text": text, "label": "a", "doc_id": document} for text, document in zip(clean(3), "xxy", strict=True)]
    assert checked(tmp_path, train=rows)["splits"]["train"]["documents"] == 2


def test_labels_come_with_counts_shares_and_samples(tmp_path):
    rows = [
        entities("Anna met Anna", ("Anna", "PER")),
        entities("Bo and Anna", ("Bo", "PER"), ("Anna", "PER")),
        entities("in Oslo", ("Oslo", "LOC")),
    ]
    person, place = checked(tmp_path, "ner", train=rows)["labels"]
    assert (person["label"], person["counts"], person["share"], person["samples"]) == ("PER", {"train": 3}, 0.75, ["Anna", "Bo"])
    assert (place["label"], place["samples"]) == ("LOC", ["Oslo"])


def test_a_label_of_texts_comes_with_texts(tmp_path):
    assert checked(tmp_path, train=["fine weather", "fair wind"])["labels"][0]["samples"] == ["fine weather", "fair wind"]


@pytest.mark.parametrize(
    ("train", "test", "warning"),
    [(9, 1, "rare in training"), (10, 1, ""), (0, 3, "not in training"), (12, 0, "only in training")],
)
def test_labels_that_training_hardly_has_are_named(tmp_path, train, test, warning):
    texts = clean(80)
    rows = [{"text": text, "label": "usual"} for text in texts[:30]]
    found = checked(
        tmp_path,
        train=rows[:20] + [{"text": text, "label": "odd"} for text in texts[30 : 30 + train]],
        test=rows[20:] + [{"text": text, "label": "odd"} for text in texts[50 : 50 + test]],
    )
    assert {row["label"]: row["warning"] for row in found["labels"]} == {"usual": "", "odd": warning}


def test_one_split_alone_has_no_labels_that_only_training_has(tmp_path):
    assert checked(tmp_path, data=["a"] * 10)["labels"][0]["warning"] == ""


def test_imbalance_is_said(tmp_path):
    texts = clean(450)
    rows = [{"text": text, "label": "rare" if at < 12 else "common"} for at, text in enumerate(texts)]
    assert "common is 36 times as frequent as rare" in said(checked(tmp_path, train=rows), "note")


def test_quantiles_are_lengths_of_the_data(tmp_path):
    texts = [" ".join(["word"] * length) for length in range(1, 101)]
    words = next(row for row in checked(tmp_path, train=texts)["lengths"] if row["of"] == "words of a text")
    assert words["quantiles"] == [50, 90, 99, 100]


def test_a_histogram_holds_every_text_once(tmp_path):
    texts = [" ".join(["word"] * length) for length in [1, 1, 2, 5, 8, 300]]
    words = next(row for row in checked(tmp_path, train=texts)["lengths"] if row["of"] == "words of a text")
    assert sum(words["counts"]) == 6
    assert len(words["edges"]) == len(words["counts"]) + 1


def test_entities_are_measured_in_words_and_characters(tmp_path):
    rows = [entities("the New York Times of York", ("New York Times", "ORG")), entities("in Rome", ("Rome", "LOC"))]
    found = {row["of"]: row["quantiles"] for row in checked(tmp_path, "ner", train=rows)["lengths"]}
    assert found["words of a span"][3] == 3
    assert found["characters of a span"] == [4, 14, 14, 14]


def test_scores_are_measured(tmp_path):
    rows = [{"text": text, "score": score} for text, score in zip(clean(4), [0.5, 1.5, 2.5, 4.5], strict=True)]
    assert {row["of"]: row["quantiles"] for row in checked(tmp_path, "regress", train=rows)["lengths"]}["score"] == [1.5, 4.5, 4.5, 4.5]


@pytest.mark.parametrize(("size", "stride"), [(8, 0), (16, 4), (32, 16), (64, 20)])
def test_the_windows_are_those_that_encoding_makes(tmp_path, size, stride):
    texts = [" ".join(["wind"] * length) for length in (1, 5, 6, 7, 13, 14, 15, 29, 30, 31, 61, 62, 63, 200)]
    path = written(tmp_path, "train.jsonl", "".join(json.dumps({"text": text, "label": "a"}) + "\n" for text in texts))
    dataset = read_splits({"train": [str(path)]}, {"train": DataSettings()}, "classify")
    chosen = encoder(max_tokens=size, stride=stride)
    row = next(row for row in check(dataset.splits, "classify", chosen)["windows"] if row["chosen"])
    assert row["windows"] == len(encode_splits(dataset, chosen).splits["train"].windows)


def test_the_windows_of_pairs_are_those_that_encoding_makes(tmp_path):
    rows = [{"text": " ".join(["wind"] * a), "text_b": " ".join(["tide"] * b), "label": "x"} for a in (3, 30, 61, 90) for b in (2, 9, 20)]
    path = written(tmp_path, "train.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    dataset = read_splits({"train": [str(path)]}, {"train": DataSettings()}, "classify")
    chosen = encoder(max_tokens=64, stride=10)
    row = next(row for row in check(dataset.splits, "classify", chosen)["windows"] if row["chosen"])
    assert row["windows"] == len(encode_splits(dataset, chosen).splits["train"].windows)


def test_what_a_window_would_cut_is_counted(tmp_path):
    texts = [" ".join(["wind"] * length) for length in (10, 64, 65, 164)]
    first = checked(tmp_path, train=texts)["windows"][0]
    assert (first["size"], first["unit"], first["longer"], first["beyond"]) == (64, "words", 2, 101)


def test_what_was_left_out_on_reading_is_said(tmp_path):
    path = written(tmp_path, "train.jsonl", '{"text": "fair wind", "label": "a"}\nnonsense\n')
    splits = read_splits({"train": [str(path)]}, {"train": DataSettings(on_error="quarantine", format="jsonl")}, "classify").splits
    assert "left out on reading train: 1 quarantined (examples)" in said(check(splits, "classify"), "warning")


def test_the_most_serious_comes_first(tmp_path):
    rows = [{"text": "fair wind", "label": "a"}, {"text": "fair wind", "label": "b"}, {"text": "caf\ufffd au lait", "label": "a"}]
    levels = [verdict["level"] for verdict in checked(tmp_path, train=rows, test=clean(2))["verdicts"]]
    assert levels == sorted(levels, key=["problem", "warning", "note", "fine"].index)


def test_the_lines_for_a_terminal_are_few(tmp_path):
    rows = [{"text": text, "label": f"label {at % 40}"} for at, text in enumerate(clean(400) + clean(300))]
    assert len(lines(checked(tmp_path, train=rows, validation=rows[:50], test=rows[50:90]))) <= 70


@examined(max_examples=60)
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5), data=st.data())
def test_any_text_and_any_label_can_be_checked(tmp_path_factory, texts, data):
    rows = []
    for text in texts:
        start = data.draw(st.integers(0, len(text) - 1))
        span = {"start": start, "end": data.draw(st.integers(start + 1, len(text))), "label": data.draw(st.sampled_from(["A", "<b>"]))}
        rows.append({"text": text, "spans": [span]})
    found = checked(tmp_path_factory.mktemp("any"), "ner", train=rows * 2, test=rows)
    json.dumps(found, allow_nan=False)
    assert all("\n" not in line for line in lines(found))


@examined(max_examples=30)
@given(texts=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), min_size=1, max_size=5))
def test_any_pair_of_texts_can_be_checked(tmp_path_factory, texts):
    rows = [{"text": text, "text_b": other, "label": other} for text, other in texts]
    assert checked(tmp_path_factory.mktemp("any"), "multilabel", train=rows)["splits"]["train"]["examples"] == len(rows)


def test_real_entities_are_checked(shared_data):
    names = {"train": "wnut17train.conll", "validation": "emerging.dev.conll"}
    paths = {name: [str(shared_data / "wnut17" / file)] for name, file in names.items()}
    found = check(read_splits(paths, dict.fromkeys(paths, DataSettings()), "ner").splits, "ner")
    assert {name: (split["examples"], split["spans"]) for name, split in found["splits"].items()} == {
        "train": (3394, 1975), "validation": (1009, 836),
    }  # fmt: skip
    assert "2 texts with invisible characters in words" in said(found, "note")


@pytest.mark.parametrize(("records", "expected"), [
    ([{"text": "the same", "label": name} for name in "ab"], ["train.json:record 1", "train.json:record 2"]),
    ([{"id": 70 + at, "data": {"text": "the same"}, "annotations": [{"result": [choice(name)]}]} for at, name in enumerate("ab")],
     ["train.json:task 70", "train.json:task 71"]),
])  # fmt: skip
def test_places_in_a_list_are_not_given_as_lines(tmp_path, records, expected):
    path = str(written(tmp_path, "train.json", json.dumps(records, indent=1)))
    found = check(read_splits({"train": [path]}, {"train": DataSettings()}, "classify").splits, "classify")
    assert places(found["conflicts"]["listed"][0]) == expected
