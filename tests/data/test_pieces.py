from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers

from tests.data.encoding import PIECES, TEXTS, TOKENIZER, kinds, properties
from tests.tiny import SENTENCES, make_tokenizer
from tunny.data import pieces
from tunny.data.pieces import PieceFinder, _may_be_cut

SPACED = st.lists(st.sampled_from([*PIECES, "<mask>", " <mask>", " turb", "[MASK]"]), max_size=14).map(" ".join)
CUT = {"wordpiece-uncased": True, "wordpiece-cased": True, "byte-bpe": True, "byte-bpe-prefix": True, "unigram": False}


def expected(tokenizer, texts):
    """What the tokenizer gives: for each text, ids, and for each piece with a letter where its first letter and its end are."""
    found = []
    for encoding, text in zip(tokenizer.encode_batch(texts, add_special_tokens=False), texts, strict=True):
        letters = [[at for at in range(*offset) if not text[at].isspace()] for offset in encoding.offsets]
        found.append((encoding.ids, [inside and (inside[0], end) for inside, (_, end) in zip(letters, encoding.offsets, strict=True)]))
    return found


def found(finder, texts):
    """The same of what the finder gives."""
    given, parts, at = finder.find(texts), [], 0
    for base, count in zip(given.bases[:-1].tolist(), given.counts.tolist(), strict=True):
        part = slice(at, at + count)
        places = zip((given.starts[part] - base).tolist(), (given.ends[part] - base).tolist(), strict=True)
        parts.append((given.ids[part].tolist(), [(start, end) if start < end else [] for start, end in places]))
        at += count
    assert at == len(given.ids)
    return parts


@kinds
@properties
@given(texts=st.lists(TEXTS | SPACED, min_size=1, max_size=4))
def test_the_pieces_are_those_that_the_tokenizer_gives_for_the_whole_text(kind, texts):
    tokenizer = TOKENIZER[kind].backend_tokenizer
    assert found(PieceFinder(tokenizer), texts) == expected(tokenizer, texts)


def with_added(*tokens):
    tokenizer = Tokenizer.from_str(make_tokenizer("byte-bpe").backend_tokenizer.to_str())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(list(tokens))
    return tokenizer


ADDED = with_added(AddedToken("<mask>", lstrip=True), AddedToken("  ", normalized=True), AddedToken("turb", single_word=True))


@properties
@given(texts=st.lists(TEXTS | SPACED, min_size=1, max_size=4))
def test_added_tokens_are_found_in_texts_that_are_cut(texts):
    assert found(PieceFinder(ADDED), texts) == expected(ADDED, texts)


@kinds
def test_texts_are_cut_for_tokenizers_that_split_at_spaces_themselves(kind):
    assert _may_be_cut(TOKENIZER[kind].backend_tokenizer) == CUT[kind]


@pytest.mark.parametrize(("token", "cut"), [
    (AddedToken("<mask>", lstrip=True), True), (AddedToken("   "), True), (AddedToken("<mask>", rstrip=True), False),
    (AddedToken("New York"), False), (AddedToken("end "), False),
])  # fmt: skip
def test_texts_are_not_cut_where_an_added_token_reaches_over_a_space(token, cut):
    assert _may_be_cut(with_added(token)) == cut


def test_texts_are_not_cut_for_a_normalizer_that_may_look_over_a_space():
    tokenizer = with_added()
    tokenizer.normalizer = normalizers.Replace("a b", "c")
    assert not _may_be_cut(tokenizer)


def test_a_word_met_before_is_not_tokenised_again():
    finder = PieceFinder(TOKENIZER["byte-bpe"].backend_tokenizer)
    finder.find(["Oslo and Bergen", "Bergen and Oslo"])
    assert list(finder._rows) == ["Oslo", " and", " Bergen", "Bergen", " Oslo"]
    known = len(finder._known)
    finder.find(["Oslo and Bergen and Oslo"])
    assert len(finder._known) == known


def test_memory_is_bounded_and_what_was_forgotten_is_found_again(monkeypatch):
    monkeypatch.setattr(pieces, "REMEMBERED", 200)
    tokenizer = TOKENIZER["wordpiece-uncased"].backend_tokenizer
    finder = PieceFinder(tokenizer)
    for round_ in range(20):
        texts = [f"{sentence} {round_ * 100 + at}" for at, sentence in enumerate(SENTENCES)]
        assert found(finder, texts) == expected(tokenizer, texts)
        assert sum(map(len, finder._rows)) == finder._characters < 800


def test_threads_may_share_a_finder():
    tokenizer = TOKENIZER["wordpiece-uncased"].backend_tokenizer
    finder = PieceFinder(tokenizer)
    chunks = [[f"{sentence} {number}{at}" for at, sentence in enumerate(SENTENCES)] for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda texts: found(finder, texts), chunks)) == [expected(tokenizer, texts) for texts in chunks]


def test_no_text_has_no_pieces():
    finder = PieceFinder(TOKENIZER["byte-bpe"].backend_tokenizer)
    assert [found(finder, texts) for texts in ([], [""], ["", "Oslo", ""])] == [
        [],
        [([], [])],
        expected(finder._tokenizer, ["", "Oslo", ""]),
    ]
