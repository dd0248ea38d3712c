from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from tests.tiny import SENTENCES, TOKENIZERS, make_tokenizer
from tunny.core.errors import DataError, ModelError
from tunny.data.audit import Audit
from tunny.data.encode import IGNORED, Encoder, assign_pieces, check_window, window_bounds
from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.data.settings import EncodeSettings
from tunny.data.store import WindowColumns
from tunny.data.tags import tags_to_spans
from tunny.data.words import words_of

NER = LabelSet("ner", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
CLASSES = LabelSet("classify", ("no", "yes"))
TOKENIZER = {kind: make_tokenizer(kind) for kind in TOKENIZERS}
PIECES = [
    "Marie", "Warsaw", "turbot", "Göteborg", "lighthouse", "can't", "naïve", "I", "ſt", "ﬁn", "İstanbul", "ẞ", "12.50", "…", ",", "!?", "\"",
    "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\x00", "\x1c", "\x85", "\xa0", "\u2009", "\u3000", " ", "  ", "\t", "\n", "\r\n",
    "👨\u200d👩\u200d👧", "🇩🇪", "❤️", "👍🏽", "e\u0301", "\u0301", "क्षि", "שלום", "القاهرة", "东京都", "ニュース", "한국어", "ไทย", "𝔘𝔫𝔦", "½", "㎏", "#", "_",
]  # fmt: skip
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join), st.text(st.characters(exclude_categories=["Cs"]), max_size=24)
)
WORDS = st.lists(st.one_of(st.sampled_from(PIECES), st.just("")), max_size=10)
kinds = pytest.mark.parametrize("kind", TOKENIZERS)
properties = settings(max_examples=60)


def encoder(kind="wordpiece-uncased", **wanted):
    return Encoder(TOKENIZER[kind].backend_tokenizer, EncodeSettings(**{"max_tokens": 64, "stride": 16, **wanted}))


def rows_of(made, examples, labels=NER, audit=None):
    columns = WindowColumns(made.encode(examples, labels, audit or Audit()))
    return [columns[row] for row in range(len(columns))]


def tokenised(words, gaps=" "):
    text, ranges = "", []
    for word in words:
        ranges.append((len(text), len(text) + len(word)))
        text += word + gaps
    return Example("x", text, words=tuple(ranges))


def found_in(text):
    return Example("x", text)


EXAMPLES = st.one_of(TEXTS.map(found_in), WORDS.map(tokenised), WORDS.map(lambda words: tokenised(words, "")))


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


@kinds
@properties
@given(examples=st.lists(EXAMPLES, min_size=1, max_size=3))
def test_the_first_piece_of_a_word_overlaps_it_and_no_earlier_piece_begins_in_it(kind, examples):
    encodings = encoder(kind).tokenizer.encode_batch([example.text for example in examples], add_special_tokens=False)
    words = [words_of(example) for example in examples]
    for example, ranges, encoding, (own, first) in zip(
        examples, words, encodings, assign_pieces(examples, words, encodings)[0], strict=True
    ):
        for piece in np.nonzero(first)[0]:
            start, end = encoding.offsets[piece]
            word_start, word_end = ranges[own[piece]]
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
    (encoding,) = encoder(kind).tokenizer.encode_batch([example.text], add_special_tokens=False)
    ((own, first),), (joined,) = assign_pieces([example], [words], [encoding])
    owned = set(own[first].tolist())
    for number, (start, end) in enumerate(words):
        over = [(max(s, start), min(e, end), s) for s, e in encoding.offsets if max(s, start) < min(e, end)]
        if number in joined:
            assert any(words[number - 1][1] > begin for _, _, begin in over)
        elif number not in owned:
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


@kinds
def test_examples_in_one_batch_do_not_touch_each_other(kind):
    examples = [found_in(text) for text in (*SENTENCES, "", " ", "\u200b", "Oslo")]
    made = encoder(kind)
    together = rows_of(made, examples)
    alone = [window for example in examples for window in rows_of(made, [example])]
    assert [(w.ids.tolist(), w.words.tolist(), w.joined.tolist()) for w in together] == [
        (w.ids.tolist(), w.words.tolist(), w.joined.tolist()) for w in alone
    ]


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


# -- windows -----------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(2, 60), st.data())
def test_windows_overlap_by_the_stride_cover_all_and_have_no_double_tail(length, room, data):
    stride = data.draw(st.integers(0, room - 1))
    bounds = window_bounds(length, room, stride)
    assert bounds[0][0] == 0
    assert bounds[-1][1] == length
    assert all(end - start <= room for start, end in bounds)
    assert all(before[1] - after[0] == stride for before, after in pairwise(bounds))
    assert all(before[1] < after[1] for before, after in pairwise(bounds))


def test_windows_start_where_hugging_face_tokenizers_start_theirs():
    text = " ".join(SENTENCES)
    theirs = TOKENIZER["wordpiece-uncased"](text, truncation=True, max_length=32, stride=8, return_overflowing_tokens=True)
    ours = rows_of(encoder(max_tokens=32, stride=8), [found_in(text)])
    assert [window.ids.tolist() for window in ours] == theirs["input_ids"]


@kinds
@settings(max_examples=25)
@given(text=st.lists(st.sampled_from(PIECES), min_size=5, max_size=60).map(" ".join), max_tokens=st.integers(8, 24), data=st.data())
def test_each_word_is_answered_in_exactly_one_window_however_small_they_are(kind, text, max_tokens, data):
    stride = data.draw(st.integers(0, min(max_tokens // 2, max_tokens - 3)))
    example = found_in(text)
    small = rows_of(encoder(kind, max_tokens=max_tokens, stride=stride), [example])
    (whole,) = rows_of(encoder(kind, max_tokens=10_000), [example])
    answered = [int(word) for window in small for word in window.words if word >= 0]
    assert sorted(answered) == sorted(int(word) for word in whole.words if word >= 0)
    assert [word for window in small for word in window.joined] == whole.joined.tolist()
    assert all(len(window.ids) <= max_tokens for window in small)
    assert {(window.ids[0], window.ids[-1]) for window in small} == {(whole.ids[0], whole.ids[-1])}


def test_a_token_is_answered_where_it_has_most_context():
    windows = rows_of(encoder(max_tokens=22, stride=10), [found_in(", " * 30)])  # windows of 20 words, each 10 further on
    assert [[int(word) for word in window.words if word >= 0] for window in windows] == [list(range(15)), list(range(15, 30))]


def test_a_document_of_twenty_thousand_words_keeps_each_once():
    words = [word for sentence in SENTENCES for word in sentence.split()]
    example = tokenised([words[number % len(words)] for number in range(20_000)])
    audit = Audit()
    windows = rows_of(encoder(max_tokens=128, stride=64), [example], audit=audit)
    answered = np.concatenate([window.words[window.words >= 0] for window in windows])
    assert sorted(answered.tolist()) == list(range(20_000))
    assert audit.counts["windows"] == len(windows) > 200


def test_half_of_a_window_may_be_stride():
    assert len(rows_of(encoder(max_tokens=128, stride=64), [found_in(", " * 500)])) > 1


def test_a_stride_that_leaves_no_room_is_refused():
    with pytest.raises(ModelError, match=r"encode\.max_tokens 8 with encode\.stride 6 leaves no room"):
        Encoder(TOKENIZER["wordpiece-cased"].backend_tokenizer, EncodeSettings.model_construct(max_tokens=8, stride=6))


def test_a_window_above_the_models_positions_is_refused():
    check_window(512, 512)
    check_window(9999, None)
    with pytest.raises(DataError, match=r"max_tokens is 513, but this model takes at most 512 tokens\. Set encode\.max_tokens: 512"):
        check_window(513, 512)


@given(st.integers(0, 90), st.integers(0, 90), st.integers(8, 40))
def test_windows_of_a_pair_cover_every_token_of_both_sides(num_a, num_b, max_tokens):
    made = encoder(max_tokens=max_tokens, stride=max_tokens // 4)
    alphabet = list(range(5, len(TOKENIZER["wordpiece-uncased"])))
    a, b = (alphabet * 3)[:num_a], (alphabet * 3)[:num_b]
    sides = [], []
    for ids, second in made._sequence_windows(a, b, pair=True):
        sep = made.template.pair_between[0]
        assert len(ids) <= max_tokens
        assert (ids[0], ids[second - 1], ids[-1]) == (made.template.pair_before[0], sep, sep)
        sides[0].append(ids[1 : second - 1])
        sides[1].append(ids[second:-1])
    for side, parts in zip((a, b), sides, strict=True):
        assert {token for part in parts for token in part} == set(side)
        assert all(part == side[at : at + len(part)] for part in parts for at in [side.index(part[0]) if part else 0])


def test_of_a_long_pair_only_the_longer_side_is_windowed():
    made = encoder(max_tokens=32, stride=8)
    windows = list(made._sequence_windows(list(range(100, 200)), [7, 8, 9], pair=True))
    assert len(windows) > 1
    assert all(ids[second:-1] == [7, 8, 9] for ids, second in windows)


def test_the_windows_of_a_long_text_weigh_as_much_as_one_text():
    windows = rows_of(
        encoder(max_tokens=16, stride=4), [Example("x", "sea " * 50, labels=("yes",)), Example("y", "sea", labels=("no",))], CLASSES
    )
    by_example = {row: [window for window in windows if window.example == row] for row in (0, 1)}
    assert len(by_example[0]) > 2
    assert sum(window.weight for window in by_example[0]) == pytest.approx(1.0)
    assert [window.labels.tolist() for window in windows] == [[1]] * len(by_example[0]) + [[0]]


# -- special tokens ----------------------------------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize("text", [*SENTENCES, "", "!", "\u200b", "Ünïcödé 东京 👍🏽"])
def test_a_short_text_gets_the_ids_that_the_tokenizer_gives(kind, text):
    (window,) = rows_of(encoder(kind, max_tokens=256), [Example("x", text, labels=("yes",))], CLASSES)
    assert window.ids.tolist() == TOKENIZER[kind](text)["input_ids"]
    assert window.second == len(window.ids)


@kinds
@pytest.mark.parametrize("pair", [(SENTENCES[0], SENTENCES[3]), ("sea", SENTENCES[1]), (SENTENCES[1], "sea"), ("sea", ""), ("", "sea")])
def test_a_pair_gets_the_ids_and_types_that_the_tokenizer_gives(kind, pair):
    made = encoder(kind, max_tokens=256)
    (window,) = rows_of(made, [Example("x", pair[0], text_b=pair[1], labels=("yes",))], CLASSES)
    theirs = made.tokenizer.encode(*pair)
    assert window.ids.tolist() == theirs.ids
    assert [int(place >= window.second) for place in range(len(window.ids))] == theirs.type_ids


def test_truncation_and_padding_of_the_tokenizer_are_switched_off():
    raw = make_tokenizer("wordpiece-uncased").backend_tokenizer
    raw.enable_truncation(8)
    raw.enable_padding(length=128)
    made = Encoder(raw, EncodeSettings(max_tokens=200, stride=16))
    (window,) = rows_of(made, [found_in(", " * 100)])
    assert len(window.ids) == 102
