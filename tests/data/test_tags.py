from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import BILOU, IOBES, Entities

from tunny.data.audit import Audit
from tunny.data.example import Example, Span
from tunny.data.tags import (
    SchemeFinder,
    WordSpan,
    bad_tag,
    inside_of,
    scheme_of,
    spans_to_tags,
    split_tag,
    tag_words,
    tags_to_spans,
    transitions,
    word_tags,
)

GOLD = [WordSpan(0, 0, "PER"), WordSpan(1, 3, "PER"), WordSpan(5, 6, "LOC"), WordSpan(7, 7, "ORG")]
WRITTEN = {  # the same spans over nine words, by hand
    "IOB1": "I-PER B-PER I-PER I-PER O I-LOC I-LOC I-ORG O",
    "IOB2": "B-PER B-PER I-PER I-PER O B-LOC I-LOC B-ORG O",
    "BIOES": "S-PER B-PER I-PER E-PER O B-LOC E-LOC S-ORG O",
    "BILOU": "U-PER B-PER I-PER L-PER O B-LOC L-LOC U-ORG O",
}


@st.composite
def spans(draw):
    found, at = [], 0
    for _ in range(draw(st.integers(0, 6))):
        first = at + draw(st.integers(0, 2))
        last = first + draw(st.integers(0, 3))
        found.append(WordSpan(first, last, draw(st.sampled_from(["PER", "LOC", "part-of"]))))
        at = last + 1
    return found, at + draw(st.integers(0, 2))


def write(found, num_words, scheme):
    tags = ["O"] * num_words
    for number, (first, last, label) in enumerate(found):
        touches = number > 0 and found[number - 1].last == first - 1 and found[number - 1].label == label
        marks = ["I"] * (last - first + 1)
        if scheme != "IOB1" or touches:
            marks[0] = "B"
        if scheme in ("BIOES", "BILOU"):
            marks[-1] = "E" if scheme == "BIOES" else "L"
            if first == last:
                marks = ["S"] if scheme == "BIOES" else ["U"]
        tags[first : last + 1] = [f"{mark}-{label}" for mark in marks]
    return tags


@pytest.mark.parametrize("scheme", WRITTEN)
def test_a_hand_written_sentence_gives_its_spans_in_every_scheme(scheme):
    assert tags_to_spans(WRITTEN[scheme].split(), scheme) == (GOLD, 0)


@pytest.mark.parametrize("scheme", WRITTEN)
def test_the_scheme_of_a_hand_written_sentence_is_found(scheme):
    finder = SchemeFinder()
    finder.see(WRITTEN[scheme].split())
    assert finder.found()[0] == scheme


@given(spans(), st.sampled_from(sorted(WRITTEN)))
def test_spans_survive_every_scheme_without_repairs(drawn, scheme):
    found, num_words = drawn
    assert tags_to_spans(write(found, num_words, scheme), scheme) == (found, 0)


@given(spans())
def test_tags_that_are_written_are_those_of_iob2(drawn):
    found, num_words = drawn
    assert spans_to_tags(found, num_words) == write(found, num_words, "IOB2")


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B"]), max_size=12))
def test_any_sequence_of_iob2_tags_gives_the_spans_of_seqeval(tags):
    assert [(label, first, last) for first, last, label in tags_to_spans(tags, "IOB2")[0]] == get_entities(tags)


@given(st.lists(st.sampled_from(["O", *(f"{prefix}-{label}" for prefix in "BIES" for label in "AB")]), max_size=12))
def test_any_sequence_of_bioes_tags_gives_the_spans_of_seqeval(tags):
    assert [(label, first, last) for first, last, label in tags_to_spans(tags, "BIOES")[0]] == get_entities(tags)


@pytest.mark.parametrize(("scheme", "theirs"), [("BIOES", IOBES), ("BILOU", BILOU)])
@given(drawn=spans())
def test_well_formed_tags_give_the_spans_of_seqeval_in_its_strict_mode(drawn, scheme, theirs):
    tags = write(*drawn, scheme)
    strict = [entity for sentence in Entities([tags], theirs).entities for entity in sentence]
    assert [(span.first, span.last + 1, span.label) for span in tags_to_spans(tags, scheme)[0]] == [
        (entity.start, entity.end, entity.tag) for entity in strict
    ]


@pytest.mark.parametrize(
    ("tags", "scheme", "repaired"),
    [
        ("O I-PER I-PER O", "IOB2", 1),
        ("B-PER I-LOC O", "IOB2", 1),
        ("O I-PER B-PER O", "IOB1", 0),
        ("B-PER I-PER O", "BIOES", 1),  # not closed
        ("O E-PER O", "BIOES", 1),  # not opened
        ("B-PER O B-LOC", "BILOU", 2),
        ("U-PER L-PER", "BILOU", 1),
    ],
)
def test_tags_that_break_their_scheme_are_counted(tags, scheme, repaired):
    assert tags_to_spans(tags.split(), scheme)[1] == repaired


@pytest.mark.parametrize("tag", ["X-PER", "B-", "PER", "", "b-PER", "B_PER", "-PER"])
def test_a_tag_of_no_scheme_is_refused(tag):
    with pytest.raises(ValueError, match="expected O or a tag such as"):
        split_tag(tag)


def test_a_label_may_hold_dashes():
    assert split_tag("B-part-of") == ("B", "part-of")


def test_the_first_bad_tag_is_found():
    assert bad_tag(["O", "B-PER", "Q-PER", "?"]) == 2


def test_one_sentence_that_starts_with_b_makes_it_iob2():
    finder = SchemeFinder()
    finder.see(["I-PER", "I-PER"])
    finder.see(["O", "B-LOC"])
    assert finder.found()[0] == "IOB2"


@pytest.mark.parametrize(
    ("names", "scheme"),
    [
        (["O", "I-PER", "I-LOC"], "IOB1"),
        (["O", "B-PER", "I-PER"], "IOB2"),
        (["O", "B-PER", "I-PER", "E-PER", "S-PER"], "BIOES"),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER"], "BILOU"),
        (["NOUN", "VERB"], "none"),
        (["LABEL_0", "LABEL_1"], "none"),
    ],
)
def test_the_scheme_of_a_models_labels_is_found(names, scheme):
    assert scheme_of(names) == scheme


@pytest.mark.parametrize("scheme", WRITTEN)
@given(data=st.data())
def test_a_sequence_is_allowed_exactly_where_it_needs_no_repair(scheme, data):
    prefixes = {"IOB1": "BI", "IOB2": "BI", "BIOES": "BIES", "BILOU": "BILU"}[scheme]
    names = ["O", *(f"{prefix}-{label}" for prefix in prefixes for label in "AB")]
    first, follow, last = transitions(names, scheme)
    path = data.draw(st.lists(st.integers(0, len(names) - 1), min_size=1, max_size=8))
    allowed = first[path[0]] and last[path[-1]] and all(follow[a, b] for a, b in pairwise(path))
    tags = [names[at] for at in path]
    found = tags_to_spans(tags, scheme)[0]
    assert allowed == (write(found, len(tags), scheme) == tags)


def test_plain_tags_may_follow_each_other_freely():
    first, follow, last = transitions(["NOUN", "VERB"], "none")
    assert np.all(first)
    assert np.all(follow)
    assert np.all(last)


def test_continuation_of_a_beginning_is_inside():
    assert [inside_of(tag) for tag in ("B-PER", "I-PER", "O")] == ["I-PER", "I-PER", "O"]


# -- from characters to words ------------------------------------------------------------------------------------------

WORDS = [(0, 5), (6, 9), (10, 13), (14, 15)]


def test_every_word_that_a_span_touches_is_tagged():
    assert tag_words([(10, 13, "LOC"), (0, 7, "PER")], WORDS) == ["B-PER", "I-PER", "B-LOC", "O"]


@pytest.mark.parametrize(
    ("span", "tags", "event"),
    [
        ((0, 9, "PER"), "B-PER I-PER O O", None),
        ((6, 9, "PER"), "O B-PER O O", None),
        ((7, 9, "PER"), "O B-PER O O", "spans snapped to words"),
        ((6, 14, "PER"), "O B-PER I-PER O", "spans snapped to words"),
        ((5, 6, "PER"), "O O O O", "spans without words"),
    ],
)
def test_a_span_that_words_cannot_say_exactly_is_counted(span, tags, event):
    audit = Audit()
    assert tag_words([span], WORDS, audit, "x") == tags.split()
    assert list(audit.events) == ([event] if event else [])
    audit.settle()


def test_of_two_spans_in_one_word_the_first_has_it_and_the_other_is_counted():
    audit = Audit()
    assert tag_words([(0, 3, "LOC"), (3, 9, "PER")], WORDS, audit) == ["B-LOC", "O", "O", "O"]
    assert audit.flow("spans").dropped == {"spans inside one word": 1}
    audit.settle()


def test_an_empty_word_beside_a_span_is_not_of_it():
    assert tag_words([(0, 3, "LOC")], [(0, 0), (0, 3), (3, 3)]) == ["O", "B-LOC", "O"]


def test_a_part_of_speech_belongs_to_exactly_its_word():
    audit = Audit()
    example = Example("x", "Cod swims on", spans=(Span(0, 3, "NOUN"), Span(4, 9, "VERB"), Span(4, 12, "X")))
    assert word_tags(example, [(0, 3), (4, 9), (10, 12)], "pos", audit) == ["NOUN", "VERB", None]
    assert audit.flow("spans").dropped == {"spans that are no words": 1}
    audit.settle()


def test_a_tag_that_breaks_its_scheme_twice_is_one_broken_tag():
    assert tags_to_spans(["I-PER"], "BIOES") == ([WordSpan(0, 0, "PER")], 1)
