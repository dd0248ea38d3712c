from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunny.data.example import Example
from tunny.data.words import _ASCII_WORD, _WORD, find_words, words_of

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def read_off(text):
    return [text[start:end] for start, end in find_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\r\n\u3000\xa0\x1f", []),
        ("Anna Berg, 42!", ["Anna", "Berg", ",", "42", "!"]),
        ("can't e-mail snake_case", ["can", "'", "t", "e", "-", "mail", "snake_case"]),
        ("cafe\u0301 naïve", ["cafe\u0301", "naïve"]),  # a combining mark stays with its letter
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("שלום, עולם", ["שלום", ",", "עולם"]),
        ("क्षत्रिय", ["क्षत्रिय"]),
        ("می\u200cخواهم", ["می\u200cخواهم"]),  # a zero-width non-joiner is spelling
        ("👨\u200d👩\u200d👧🇩🇪👍🏽", ["👨\u200d👩\u200d👧", "🇩🇪", "👍🏽"]),
        ("a\r\nb\xa0c\u200bd", ["a", "b", "c", "\u200b", "d"]),
    ],
)
def test_words_are_letters_and_digits_together_and_all_else_alone(text, words):
    assert read_off(text) == words


@given(ANY_TEXT)
def test_words_are_in_order_apart_and_not_empty(text):
    words = find_words(text)
    assert all(start < end for start, end in words)
    assert all(before[1] <= after[0] for before, after in pairwise(words))


@given(ANY_TEXT)
def test_only_white_space_stands_outside_words(text):
    outside = list(text)
    for start, end in reversed(find_words(text)):
        assert not text[start].isspace()
        del outside[start:end]
    assert "".join(outside).strip() == ""


def test_the_words_of_the_source_are_kept():
    assert words_of(Example("x", "a b", words=((0, 3),))) == ((0, 3),)
    assert words_of(Example("x", "a b")) == ((0, 1), (2, 3))


@given(st.text(st.characters(max_codepoint=127)))
def test_the_quick_rule_for_ascii_gives_the_same_words(text):
    assert [match.span() for match in _ASCII_WORD.finditer(text)] == [match.span() for match in _WORD.finditer(text)]
