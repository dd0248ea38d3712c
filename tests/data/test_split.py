import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunny.core.errors import ConfigError
from tunny.data.example import Example, Span
from tunny.data.split import SPLITS, deal, documents_of, quotas, report

RATIOS = (0.7, 0.15, 0.15)


def by_name(examples, kind="classify", ratios=RATIOS, seed=42):
    documents = documents_of(examples, kind)
    dealt = deal(documents, ratios, seed)
    return {name: SPLITS[dealt[number]] for name, number in documents.numbers.items()}


def corpus(documents, each=3, labels="ab"):
    draw = random.Random(documents)
    return [
        Example(f"{number}-{at}", f"text {number} {at}", labels=(draw.choice(labels),), document=f"doc {number}")
        for number in range(documents)
        for at in range(1 + draw.randrange(each))
    ]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, [1, 0, 0]),
        (2, [2, 0, 0]),
        (3, [1, 1, 1]),
        (4, [2, 1, 1]),
        (7, [5, 1, 1]),
        (10, [7, 2, 1]),
        (20, [14, 3, 3]),
        (100, [70, 15, 15]),
    ],
)
def test_places_follow_the_largest_remainder_and_none_is_empty_without_need(number, expected):
    assert quotas(number, RATIOS) == expected


@given(st.integers(1, 500), st.integers(0, 50), st.integers(0, 49))
def test_places_are_never_further_than_one_from_their_share_but_to_fill_an_empty_split(number, validation, test):
    ratios = ((100 - validation - test) / 100, validation / 100, test / 100)
    found = quotas(number, ratios)
    assert sum(found) == number
    assert all(count == 0 for count, ratio in zip(found, ratios, strict=True) if ratio == 0)
    if min(ratio * number for ratio in ratios if ratio) >= 1:
        assert all(abs(count - ratio * number) < 1 + 1e-9 for count, ratio in zip(found, ratios, strict=True))


@pytest.mark.parametrize("ratios", [(0.5, 0.2, 0.2), (1.2, -0.2, 0.0), (0.0, 0.5, 0.5)])
def test_shares_that_are_no_whole_are_refused(ratios):
    with pytest.raises(ConfigError, match="add up to 1"):
        quotas(10, ratios)


@pytest.mark.parametrize("number", range(1, 61))
def test_every_number_of_documents_is_dealt_whole_and_in_any_order_alike(number):
    examples = corpus(number)
    found = by_name(examples)
    assert [list(found.values()).count(name) for name in SPLITS] == quotas(number, RATIOS)
    random.Random(7).shuffle(examples)
    assert by_name(examples) == found


def test_another_seed_deals_otherwise():
    assert by_name(corpus(40)) != by_name(corpus(40), seed=43)


def test_labels_are_shared_out_in_proportion_the_rare_one_too():
    draw = random.Random(1)
    examples = [Example(str(n), f"text {n}", labels=(draw.choices("abc", (80, 17, 3))[0],)) for n in range(2000)]
    documents = documents_of(examples, "classify")
    parts = report(documents, deal(documents, RATIOS, 42), RATIOS, 42)["splits"]
    for label in "abc":
        total = sum(part["labels"][label] for part in parts.values())
        for ratio, part in zip(RATIOS, parts.values(), strict=True):
            assert abs(part["labels"][label] - ratio * total) <= 2


def test_documents_of_entities_are_stratified_by_their_spans():
    examples = [Example(str(n), f"text {n}", spans=(Span(0, 4, "RARE" if n % 10 == 0 else "OFTEN"),), document=f"d{n}") for n in range(100)]
    documents = documents_of(examples, "ner")
    parts = report(documents, deal(documents, RATIOS, 1), RATIOS, 1)["splits"]
    assert [part["labels"]["RARE"] for part in parts.values()] in ([7, 2, 1], [7, 1, 2], [6, 2, 2])


def test_sizes_of_documents_are_evened_out():
    examples = [Example(f"{n}-{at}", f"text {n} {at}", labels=("a",), document=f"d{n}") for n in range(20) for at in range(1 + 9 * (n % 2))]
    parts = report((documents := documents_of(examples, "classify")), deal(documents, (0.5, 0.25, 0.25), 3), (0.5, 0.25, 0.25), 3)["splits"]
    assert [part["documents"] for part in parts.values()] == [10, 5, 5]
    assert all(abs(part["examples"] - share * 110) <= 10 for part, share in zip(parts.values(), (0.5, 0.25, 0.25), strict=True))


def test_copies_of_a_text_without_a_document_stay_together():
    examples = [Example(str(n), f"text {n % 30}", labels=("a",)) for n in range(90)]
    documents = documents_of(examples, "classify")
    assert len(documents.numbers) == 30


def test_the_report_names_documents_examples_words_and_labels():
    examples = [Example("1", "one two three", labels=("a",), document="d"), Example("2", "four", labels=("b",), document="d")]
    documents = documents_of(examples, "classify")
    content = report(documents, deal(documents, RATIOS, 5), RATIOS, 5)
    assert content["seed"] == 5
    assert content["ratios"] == {"train": 0.7, "validation": 0.15, "test": 0.15}
    assert content["splits"]["train"] == {"documents": 1, "examples": 2, "words": 4, "labels": {"a": 1, "b": 1}, "ids": ["d"]}
    assert content["splits"]["test"] == {"documents": 0, "examples": 0, "words": 0, "labels": {}, "ids": []}
    json.dumps(content)
