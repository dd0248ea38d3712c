from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tests.data.encoding import EXAMPLES, NER, PIECES, TOKENIZER, encoder, found_in, kinds, properties, rows_of, tokenised
from tunny.data.align import IGNORED, align
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.data.pieces import PieceFinder
from tunny.data.settings import EncodeSettings
from tunny.data.store import to_rows
from tunny.data.tags import tags_to_spans, word_tags
from tunny.data.words import words_of

# -- words and pieces --------------------------------------------------------------------------------------------------


@kinds
@properties
@given(examples=st.lists(EXAMPLES, min_size=1, max_size=3))
def test_every_word_is_exactly_one_of_owned_joined_and_mute(kind, examples):
    audit = Audit()
    windows = rows_of(encoder(kind), examples, audit=audit)
    for row, example in enumerate(examples):
        mine = [window for window in windows if window.example == row]
        owned = [int(word) for window in mine for word in window.words if word >= 0]
        joined = [int(word) for window in mine for word in window.joined]
        assert len(set(owned + joined)) == len(owned) + len(joined)
        assert set(owned + joined) <= set(range(len(words_of(example))))
    assert audit.counts["words"] == sum(len(words_of(example)) for example in examples)


def aligned(kind, examples):
    """What the pieces of each example answer, and its joined words."""
    pieces = PieceFinder(TOKENIZER[kind].backend_tokenizer).find([example.text for example in examples])
    answers, _, joined, num_joined = align(to_rows(examples), pieces, NER, False, Audit())
    return zip(np.split(answers, np.cumsum(pieces.counts)[:-1]), np.split(joined, np.cumsum(num_joined)[:-1]), strict=True)


@kinds
@properties
@given(examples=st.lists(EXAMPLES, min_size=1, max_size=3))
def test_the_first_piece_of_a_word_overlaps_it_and_no_earlier_piece_begins_in_it(kind, examples):
    encodings = TOKENIZER[kind].backend_tokenizer.encode_batch([example.text for example in examples], add_special_tokens=False)
    for example, encoding, (answers, _) in zip(examples, encodings, aligned(kind, examples), strict=True):
        for piece in np.flatnonzero(answers >= 0):
            start, end = encoding.offsets[piece]
            word_start, word_end = words_of(example)[answers[piece]]
            assert example.text[max(start, word_start) : min(end, word_end)].strip()
            assert not any(
                word_start <= s + len(example.text[s:e]) - len(example.text[s:e].lstrip()) < min(word_end, e)
                for s, e in encoding.offsets[:piece]
            )


@kinds
@properties
@given(example=EXAMPLES)
def test_a_mute_word_is_overlapped_by_no_piece_and_a_joined_one_shares_a_piece_of_the_word_before(kind, example):
    words = words_of(example)
    (encoding,) = TOKENIZER[kind].backend_tokenizer.encode_batch([example.text], add_special_tokens=False)
    ((answers, joined),) = aligned(kind, [example])
    for number, (start, end) in enumerate(words):
        over = [(max(s, start), min(e, end), s) for s, e in encoding.offsets if max(s, start) < min(e, end)]
        if number in joined:
            assert any(words[number - 1][1] > begin for _, _, begin in over)
        elif number not in answers:
            assert not any(example.text[s:e].strip() for s, e, _ in over)


@kinds
@properties
@given(words=st.lists(st.sampled_from([piece for piece in PIECES if piece.isalpha()]), min_size=1, max_size=12), data=st.data())
def test_spans_on_word_edges_come_back_from_the_labels_of_the_windows(kind, words, data):
    example = tokenised(words)
    spans, at = [], 0
    while at < len(words) and data.draw(st.booleans()):
        first = data.draw(st.integers(at, len(words) - 1))
        last = data.draw(st.integers(first, len(words) - 1))
        spans.append(Span(example.words[first][0], example.words[last][1], data.draw(st.sampled_from(["PER", "LOC"]))))
        at = last + 1
    example = Example("x", example.text, spans=tuple(spans), words=example.words)
    tags = ["O"] * len(words)
    answered = set()
    for window in rows_of(encoder(kind, max_tokens=12, stride=4), [example]):
        for word, label in zip(window.words, window.labels, strict=True):
            if word >= 0:
                tags[word] = NER.names[label]
                answered.add(int(word))
    assert answered == set(range(len(words)))  # each of these words has a token of its own
    found = [Span(example.words[first][0], example.words[last][1], label) for first, last, label in tags_to_spans(tags, "IOB2")[0]]
    assert found == spans


@st.composite
def labelled(draw):
    """An example with spans anywhere, in any order, on the edges of words or not."""
    example = draw(EXAMPLES)
    ranges = words_of(example)
    edges = (
        st.sampled_from([edge for word in ranges for edge in word]) if ranges and draw(st.booleans()) else st.integers(0, len(example.text))
    )
    spans = draw(st.lists(st.builds(Span, edges, edges, st.sampled_from(["PER", "LOC", "other"])), max_size=4))
    return replace(example, spans=draw(st.none() | st.just(tuple(span for span in spans if span.start < span.end))))


@pytest.mark.parametrize("labels", [NER, LabelSet("pos", ("PER", "LOC"))], ids=["ner", "pos"])
@kinds
@properties
@given(examples=st.lists(labelled(), min_size=1, max_size=5))
def test_examples_in_one_batch_do_not_touch_each_other(kind, labels, examples):
    made = encoder(kind, max_tokens=12, stride=4, label_all_pieces=True)
    together, alone = Audit(), Audit()
    windows = [window for example in examples for window in rows_of(made, [example], labels, alone)]
    assert [told(window) for window in rows_of(made, examples, labels, together)] == [told(window) for window in windows]
    assert (together.counts, together.events, together.flows) == (alone.counts, alone.events, alone.flows)


def told(window):
    return window.ids.tolist(), window.words.tolist(), window.labels.tolist(), window.joined.tolist()


@properties
@given(examples=st.lists(labelled(), min_size=1, max_size=5))
def test_the_tags_learnt_are_those_of_the_words(examples):
    windows = rows_of(encoder("byte-bpe", max_tokens=10_000), examples)
    for window, example in zip(windows, examples, strict=True):
        tags = word_tags(example, words_of(example), "ner")
        for word, label in zip(window.words, window.labels, strict=True):
            learnt = IGNORED if word < 0 or example.spans is None else NER.ids.get(tags[word], IGNORED)
            assert label == learnt


def test_a_word_without_tokens_is_counted():
    audit = Audit()
    (window,) = rows_of(encoder("wordpiece-uncased"), [tokenised([",", "\u200b", "."])], audit=audit)  # BERT removes U+200B
    assert window.words.tolist() == [-1, 0, 2, -1]
    assert (audit.counts["words without tokens"], audit.counts["words"]) == (1, 3)


def test_a_token_over_two_words_is_the_first_ones_and_the_second_is_joined():
    example = Example("x", "Monday", words=((0, 3), (3, 6)))
    audit = Audit()
    made = Encoder(Tokenizer(models.WordLevel({"Monday": 0, "a": 1})), EncodeSettings())
    (window,) = rows_of(made, [example], audit=audit)
    assert (window.words.tolist(), window.joined.tolist()) == ([0], [1])
    assert audit.counts["words inside the token of the word before"] == 1


# -- what cannot be learnt ---------------------------------------------------------------------------------------------


def test_a_span_inside_a_word_is_widened_to_it_and_counted():
    example = Example("x", "in Warsaws port", spans=(Span(3, 9, "LOC"),))
    audit = Audit()
    (window,) = rows_of(encoder(), [example], audit=audit)
    labels = {int(word): NER.names[label] for word, label in zip(window.words, window.labels, strict=True) if word >= 0}
    assert labels == {0: "O", 1: "B-LOC", 2: "O"}
    assert audit.counts["spans snapped to words"] == 1


def test_of_two_spans_in_one_word_the_first_is_learnt_and_the_other_counted():
    example = Example("x", "WarsawParis", spans=(Span(0, 6, "LOC"), Span(6, 11, "PER")))
    audit = Audit()
    (window,) = rows_of(encoder(), [example], audit=audit)
    assert [NER.names[label] for label in window.labels if label >= 0] == ["B-LOC"]
    assert audit.counts["spans inside one word"] == 1


def test_continuation_pieces_learn_nothing_unless_they_are_to():
    example = Example("x", "Peterhead Bergens", spans=(Span(0, 17, "LOC"),))
    made = encoder()
    (window,) = rows_of(made, [example])
    own = window.words >= 0
    assert own.sum() == 2 < len(window.ids) - 2
    assert np.all(window.labels[~own] == IGNORED)


def test_where_a_type_has_no_inside_tag_pieces_learn_its_beginning_and_longer_spans_are_told():
    labels, audit = LabelSet("ner", ("B-PER", "O")), Audit()
    example = replace(tokenised(["Marie", "Curie", "left"]), spans=(Span(0, 11, "PER"),))
    (window,) = rows_of(encoder(label_all_pieces=True), [example], labels, audit)
    learnt = {word: window.labels[window.words == word].tolist() for word in range(3)}
    assert learnt == {0: [0], 1: [IGNORED], 2: [1]}
    assert audit.counts["spans of several words without an I- tag in data.labels"] == 1
    one = replace(tokenised(["turbots"]), spans=(Span(0, 7, "PER"),))
    (window,) = rows_of(encoder(label_all_pieces=True), [one], labels)
    assert set(window.labels[1:-1].tolist()) == {0}
    assert len(window.labels) > 3


def test_with_label_all_pieces_they_learn_to_continue():
    example = Example("x", "Peterhead Bergens now", spans=(Span(0, 17, "LOC"),))
    made = encoder(label_all_pieces=True)
    (window,) = rows_of(made, [example])
    encoding = made.tokenizer.encode(example.text)
    expected = {(0, True): "B-LOC", (0, False): "I-LOC", (1, True): "I-LOC", (1, False): "I-LOC", (2, True): "O", (2, False): "O"}
    words = [0 if end <= 9 else 1 if end <= 17 else 2 for _, end in encoding.offsets[1:-1]]
    wanted = [expected[word, place == 0 or words[place - 1] != word] for place, word in enumerate(words)]
    assert [NER.names[label] for label in window.labels[1:-1]] == wanted
    assert window.labels[[0, -1]].tolist() == [IGNORED, IGNORED]
    assert (window.words >= 0).sum() == 3  # still scored once a word


def test_parts_of_speech_learn_a_tag_a_word_and_nothing_where_there_is_none():
    labels = LabelSet("pos", ("NOUN", "VERB"))
    example = Example("x", "ships sold in", spans=(Span(0, 5, "NOUN"), Span(6, 10, "VERB")), words=((0, 5), (6, 10), (11, 13)))
    (window,) = rows_of(encoder(), [example], labels)
    learnt = {int(word): int(label) for word, label in zip(window.words, window.labels, strict=True) if word >= 0}
    assert learnt == {0: 0, 1: 1, 2: IGNORED}


def test_an_unlabelled_text_learns_nothing():
    (window,) = rows_of(encoder(), [found_in("Oslo")])
    assert np.all(window.labels == IGNORED)
