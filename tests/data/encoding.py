"""Tokenizers, awkward texts and encoded examples, for the tests of pieces, alignment and windows."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st

from tests.tiny import TOKENIZERS, make_tokenizer
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.settings import EncodeSettings

NER = LabelSet("ner", ("O", "B-PER", "I-PER", "B-LOC", "I-LOC"))
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
    columns = made.encode(examples, labels, audit or Audit())
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
