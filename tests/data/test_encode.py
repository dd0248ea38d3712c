from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.data.encoding import PIECES, TOKENIZER, encoder, found_in, kinds, rows_of, tokenised
from tests.tiny import SENTENCES, make_tokenizer
from tunny.core.errors import DataError, ModelError
from tunny.data.audit import Audit
from tunny.data.encode import Encoder, check_window
from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.settings import EncodeSettings

CLASSES = LabelSet("classify", ("no", "yes"))

# -- windows -----------------------------------------------------------------------------------------------------------


def numbered(count, first=0):
    """A text whose tokens are numbers."""
    return " ".join(map(str, range(first, first + count)))


def counting():
    """A tokenizer for which a number is its own id."""
    tokenizer = Tokenizer(models.WordLevel({**{str(number): number for number in range(1000)}, "a": 1000, "<": 1001, ">": 1002}))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="< $A >", pair="< $A > $B:1 >:1", special_tokens=[("<", 1001), (">", 1002)]
    )
    return tokenizer


@given(st.integers(0, 500), st.integers(8, 60), st.data())
def test_windows_overlap_by_the_stride_cover_all_and_have_no_double_tail(length, max_tokens, data):
    stride = data.draw(st.integers(0, min(max_tokens // 2, max_tokens - 3)))
    windows = rows_of(Encoder(counting(), EncodeSettings(max_tokens=max_tokens, stride=stride)), [found_in(numbered(length))])
    parts = [window.ids[1:-1].tolist() for window in windows]
    bounds = [(part[0], part[-1] + 1) if part else (0, 0) for part in parts]
    assert parts == [list(range(start, end)) for start, end in bounds]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == length
    assert all(end - start <= max_tokens - 2 for start, end in bounds)
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


def pair_windows(num_a, num_b, **settings):
    """The two sides of each window of a pair of so many tokens, the second side counted from 500."""
    made = Encoder(counting(), EncodeSettings(**settings))
    examples = [
        Example("w", "0 1", labels=("no",)),
        Example("x", numbered(num_a), text_b=numbered(num_b, 500)),
        Example("y", "2", text_b="3"),
    ]
    windows = [window for window in rows_of(made, examples, CLASSES) if window.example == 1]
    assert all(len(window.ids) <= settings["max_tokens"] for window in windows)
    assert {(window.ids[0], window.ids[window.second - 1], window.ids[-1]) for window in windows} == {(1001, 1002, 1002)}
    return [(window.ids[1 : window.second - 1].tolist(), window.ids[window.second : -1].tolist()) for window in windows]


@given(st.integers(0, 90), st.integers(0, 90), st.integers(8, 40))
def test_windows_of_a_pair_cover_every_token_of_both_sides(num_a, num_b, max_tokens):
    windows = pair_windows(num_a, num_b, max_tokens=max_tokens, stride=max_tokens // 4)
    for side, (first, count) in enumerate(((0, num_a), (500, num_b))):
        assert {token for window in windows for token in window[side]} == set(range(first, first + count))
        assert all(window[side] == list(range(window[side][0], window[side][-1] + 1)) for window in windows if window[side])


def test_of_a_long_pair_only_the_longer_side_is_windowed():
    windows = pair_windows(100, 3, max_tokens=32, stride=8)
    assert len(windows) > 1
    assert all(second == [500, 501, 502] for _, second in windows)


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


@kinds
def test_with_prefix_space_the_first_word_is_encoded_as_any_other(kind):
    tokenizer = make_tokenizer(kind).backend_tokenizer
    made = Encoder(tokenizer, EncodeSettings(max_tokens=64, stride=16, prefix_space=True))
    first, second = (list(rows_of(made, [found_in(text)])[0].ids[1:-1]) for text in ("turbot", "turbot turbot"))
    assert second == first + first
