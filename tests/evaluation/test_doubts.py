"""Doubts from probabilities made by hand; expected scores are computed beside them from the definition."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.data.tags import tag_words
from tunny.data.words import words_of
from tunny.evaluation.doubts import rank
from tunny.evaluation.forms import cross_fitted
from tunny.tasks.base import Answer

NER = LabelSet("ner", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
TEXT = "Marie Curie left Paris"
MARIE, CURIE, BOTH, PARIS = (0, 5), (6, 11), (0, 11), (17, 22)


def spans(*found):
    return tuple(Span(*place, label) for place, label in found)


def tagged(gold, answered, *, row=0, believed=0.01, sure=0.95, text=TEXT):
    """A row of TEXT with gold and answered spans; each word's gold and answered tags have these probabilities, the others the rest."""
    found = [{"start": start, "end": end, "label": label, "score": 0.9} for start, end, label in spans(*answered)]
    example = Example(str(row), text, spans=spans(*gold))
    words = words_of(example)
    tags, answers = tag_words(example.spans, words), tag_words(spans(*answered), words)
    probabilities = np.full((len(words), len(NER.names)), (1 - believed - sure) / (len(NER.names) - 2))
    for at, (tag, answer) in enumerate(zip(tags, answers, strict=True)):
        probabilities[at, NER.ids[tag]] = believed
        probabilities[at, NER.ids[answer]] = sure
    prediction = {"id": str(row), "text": text, "spans": found}
    best = np.array([NER.ids[answer] for answer in answers])
    return row, example, Answer(prediction, best, np.full(len(words), sure, np.float32), logs=np.log(probabilities))


def classified(row, gold, probabilities, names="abc"):
    best = int(np.argmax(probabilities))
    prediction = {"id": str(row), "text": "x", "label": names[best], "score": probabilities[best]}
    example = Example(str(row), "x", labels=None if gold is None else (gold,))
    return row, example, Answer(prediction, np.array([best]), np.array(probabilities, np.float32))


def valued(row, gold, value):
    example = Example(str(row), "x", score=gold)
    return row, example, Answer({"id": str(row), "text": "x", "value": value}, np.zeros(0, np.int64), np.array([value], np.float32))


@pytest.mark.parametrize(
    ("gold", "answered", "what", "sides", "place"),
    [
        ([(PARIS, "PER")], [(PARIS, "LOC")], "wrong label", ("PER", "LOC"), PARIS),
        ([], [(BOTH, "PER")], "missing span", ("nothing", "PER"), BOTH),
        ([(PARIS, "LOC")], [], "spurious span", ("LOC", "nothing"), PARIS),
        ([(CURIE, "PER")], [(BOTH, "PER")], "boundary", ("Curie", "Marie Curie"), BOTH),
        ([(MARIE, "PER"), (CURIE, "PER")], [(BOTH, "PER")], "boundary", ("Marie, Curie", "Marie Curie"), BOTH),
        ([(CURIE, "LOC")], [(BOTH, "PER")], "wrong label", ("LOC", "PER"), BOTH),
    ],
)
def test_a_disputed_stretch_is_named_by_what_it_is(gold, answered, what, sides, place):
    [doubt] = rank([tagged(gold, answered)], NER)
    assert (doubt.what, (doubt.gold, doubt.answer), (doubt.start, doubt.end)) == (what, sides, place)


def test_spans_that_do_not_touch_are_doubted_apart_and_what_agrees_not_at_all():
    gold = [(MARIE, "PER"), (PARIS, "PER")]
    assert {doubt.what for doubt in rank([tagged(gold, [(CURIE, "PER"), (PARIS, "PER")])], NER)} == {"spurious span", "missing span"}
    assert rank([tagged(gold, gold)], NER) == []


def test_the_score_of_a_class_is_the_answer_over_the_gold_label_each_by_its_class():
    rows = [classified(0, "a", [0.8, 0.1, 0.1]), classified(1, "b", [0.2, 0.6, 0.2]), classified(2, "a", [0.3, 0.65, 0.05])]
    [doubt] = rank(rows, LabelSet("classify", tuple("abc")))
    assert (doubt.row, doubt.gold, doubt.answer) == (2, "a", "b")
    assert doubt.score == pytest.approx(math.log(0.65 / 0.6) - math.log(0.3 / ((0.8 + 0.3) / 2)), rel=1e-6)


def test_an_answer_less_sure_than_its_class_usually_is_raises_no_doubt():
    rows = [classified(0, "b", [0.05, 0.9, 0.05]), classified(1, "a", [0.3, 0.6, 0.1])]
    assert rank(rows, LabelSet("classify", tuple("abc"))) == []


def test_a_class_that_the_model_never_gets_right_does_not_fill_the_list():
    never = [classified(row, "c", [0.9, 0.07, 0.03]) for row in range(20)]
    right = [classified(row, "b", [0.05, 0.9, 0.05]) for row in range(20, 40)]
    right += [classified(row, "a", [0.9, 0.05, 0.05]) for row in range(40, 60)]
    doubts = rank([*never, *right, classified(60, "b", [0.9, 0.05, 0.05])], LabelSet("classify", tuple("abc")))
    assert (doubts[0].row, len(doubts)) == (60, 21)


def test_the_score_of_a_span_is_what_model_and_other_uses_of_its_words_believe():
    agreed = [tagged([(PARIS, "LOC")], [(PARIS, "LOC")], row=row) for row in range(1, 4)]
    [doubt] = rank([tagged([(PARIS, "PER")], [(PARIS, "LOC")], believed=0.1, sure=0.6), *agreed], NER)
    words = 4 * 4
    usual = {"O": (words - 4) / words, "PER": 1 / words, "LOC": 3 / words}
    others = {"O": 0, "PER": 0, "LOC": 3}  # of this word, this ending, after this word, and at the end of the text
    beside = {name: (others[name] + 5 * share) / (3 + 5) for name, share in usual.items()}
    elsewhere = {name: (others[name] + beside[name]) / (3 + 1) / share * beside[name] / share for name, share in usual.items()}
    model = {"O": 0.1, "B-PER": 0.1, "I-PER": 0.1, "B-LOC": 0.6, "I-LOC": 0.1}
    tags = [NER.ids[tag] for label in ("B-PER", "B-LOC", "B-LOC", "B-LOC") for tag in ("O", "O", "O", label)]
    forms = np.exp(cross_fitted([TEXT.split()] * 4, np.array(tags), 5))[3]
    both = {tag: belief * forms[NER.ids[tag]] * elsewhere[tag[2:] or "O"] for tag, belief in model.items()}
    assert doubt.score == pytest.approx(-math.log(both["B-PER"] / sum(both.values())), rel=1e-5)


def test_of_a_span_the_words_that_differ_count_by_their_mean():
    [one, other] = (rank([tagged([], [(place, "PER")])], NER)[0].score for place in (MARIE, BOTH))
    assert other == pytest.approx(one, rel=0.2)


def test_kinds_take_turns():
    rows = [tagged([(PARIS, "LOC")], [], row=row, believed=0.001 + row / 1e6, sure=0.99) for row in range(3)]
    rows += [tagged([], [(MARIE, "PER")], row=row, believed=0.001 + row / 1e6, sure=0.99) for row in range(3, 6)]
    found = [doubt.what for doubt in rank(rows, NER)]
    each = min(found.count("spurious span"), found.count("missing span"))
    assert each >= 2
    assert found[: 2 * each] == ["spurious span", "missing span"] * each


def test_rows_that_nobody_labelled_are_one_doubt():
    gold = [(BOTH, "PER"), (PARIS, "LOC")]
    rows = [tagged([] if 40 <= row < 60 else gold, gold, row=row) for row in range(120)]
    rows[100] = tagged([(PARIS, "LOC")], gold, row=100)
    found = {doubt.what: doubt for doubt in rank(reversed(rows), NER)}
    stretch = found["unlabelled stretch"]
    assert (stretch.row, stretch.answer, len(stretch.members)) == (40, "40 spans in 20 rows", 40)
    assert found["missing span"].row == 100


def test_labels_that_are_missing_here_and_there_are_no_stretch():
    gold = [(BOTH, "PER"), (PARIS, "LOC")]
    rows = [tagged([] if row % 10 == 0 else gold, gold, row=row) for row in range(200)]
    assert {doubt.what for doubt in rank(rows, NER)} == {"missing span"}


def test_each_label_of_several_is_doubted_on_its_own():
    names = ("sea", "land")

    def row(number, gold, probabilities):
        given = np.flatnonzero(np.array(probabilities) >= 0.5)
        return number, Example(str(number), "x", labels=gold), Answer({"id": str(number)}, given, np.array(probabilities, np.float32))

    rows = [row(0, ("sea",), [0.9, 0.1]), row(1, (), [0.1, 0.1]), row(2, ("land",), [0.97, 0.9]), row(3, ("land",), [0.1, 0.02])]
    found = rank(rows, LabelSet("multilabel", names))
    assert {(doubt.row, doubt.gold, doubt.answer) for doubt in found} == {(2, "no sea", "sea"), (3, "land", "no land")}


def test_a_tag_of_a_word_is_doubted_and_words_without_a_tag_are_not():
    words = ((0, 5), (6, 11))
    example = Example("0", "Marie Curie", spans=(Span(0, 5, "VERB"),), words=words)
    logs = np.log([[0.9, 0.1], [0.9, 0.1]])
    answer = Answer({"words": words, "tags": ["NOUN", "NOUN"]}, np.zeros(2, np.int64), np.array([0.9, 0.9], np.float32), logs=logs)
    [doubt] = rank([(4, example, answer)], LabelSet("pos", ("NOUN", "VERB")))
    assert (doubt.row, doubt.what, doubt.gold, doubt.answer, doubt.start, doubt.end) == (4, "wrong label", "VERB", "NOUN", 0, 5)


def test_values_are_far_off_by_the_median_deviation():
    differences = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 10.0]
    [doubt] = rank([valued(row, 3.0, 3.0 + one) for row, one in enumerate(differences)], LabelSet("regress", ("score",)))
    middle = (0.0 + 0.5) / 2  # of the eight, sorted
    deviation = (0.75 + 1.25) / 2  # the fourth and fifth of 0.25 0.25 0.75 0.75 1.25 1.75 2.25 9.75
    assert (doubt.row, doubt.what, doubt.gold, doubt.answer) == (7, "far-off value", "3", "13")
    assert doubt.score == pytest.approx((10.0 - middle) / (1.4826 * deviation))


@pytest.mark.parametrize("kind", ["ner", "pos", "classify", "multilabel", "regress"])
def test_unlabelled_examples_are_not_doubted(kind):
    prediction = {"spans": [{"start": 0, "end": 1, "label": "a"}], "tags": ["a"], "value": 1.0}
    answer = Answer(prediction, np.array([0]), np.array([0.9], np.float32))
    assert rank([(0, Example("0", "x"), answer)], LabelSet(kind, ("a",))) == []


def test_a_word_without_tokens_has_no_say():
    row, example, answer = tagged([], [(MARIE, "PER")])
    assert len(rank([(row, example, answer)], NER)) == 1
    assert rank([(row, example, replace(answer, scores=np.full(4, np.nan, np.float32)))], NER) == []
