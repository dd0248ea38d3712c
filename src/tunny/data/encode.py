"""From examples to windows of token ids, without losing a word: the original text goes to the tokenizer, its offsets come back.

A chunk of examples is encoded at once, in flat arrays: its pieces (`pieces.py`), the words that these answer (`align.py`), and here
its windows. Long texts become overlapping windows; each token has one home, the window in which it has most context, and is learnt
and answered only there. A window has five parts: special tokens, text, special tokens, second text, special tokens.

Letters: N examples, P pieces, V windows, T tokens of all windows.
"""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from tunny.core.errors import DataError, ModelError
from tunny.core.files import digest_bytes
from tunny.data.align import IGNORED, align
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.pieces import Array, PieceFinder, Pieces, bounds_of, ranges
from tunny.data.settings import TOKEN_KINDS, EncodeSettings
from tunny.data.store import TO_ENCODE, WindowColumns, list_lengths, to_rows

Items = tuple[Array, Array]  # of lists: all of them, and the bounds of each list


class Template(NamedTuple):
    """The special tokens before, between and behind two texts; those between are behind a text alone."""

    single: tuple[list[int], list[int], list[int]]
    pair: tuple[list[int], list[int], list[int]]
    second_type: int | None  # special tokens between that are of the first segment; None: the second text is of type 0 too


class Windows(NamedTuple):
    """Where windows are cut; a place is one among all special tokens, the pieces of the texts, and those of the second texts."""

    example: Array  # (V,) of the chunk
    number: Array  # (V,) among those of its example
    share: Array  # (V,) how many its example has
    parts: Array  # (V, 5) tokens of each part
    bounds: Array  # (V + 1,) first token of each window among all, and the end
    places: Array  # (T,)
    at_home: Array  # (T,) bool, whether it is a piece of the text and has its home there


class Encoder:
    """A fast tokenizer with truncation and padding off, its special tokens, and the settings of windows."""

    def __init__(self, tokenizer: Tokenizer, settings: EncodeSettings):
        self.tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        if settings.prefix_space and hasattr(tokenizer.pre_tokenizer, "use_regex"):  # of ByteLevel alone
            tokenizer.pre_tokenizer.add_prefix_space = True
        self.settings = settings
        self.template = _template(tokenizer)
        self._special = np.array(list(chain(*self.template.single, *self.template.pair)), np.int32)
        self.digest = digest_bytes(tokenizer.to_str())
        self.finder = PieceFinder(tokenizer)
        if self.room(pair=True) < 2 or self.room(pair=False) <= settings.stride:
            raise ModelError(
                f"encode.max_tokens {settings.max_tokens} with encode.stride {settings.stride} leaves no room for text beside "
                "the special tokens. Raise max_tokens or lower stride."
            )

    def room(self, pair: bool) -> int:
        """Return how many tokens of text a window takes."""
        return self.settings.max_tokens - sum(map(len, self.template.pair if pair else self.template.single))

    def encode(self, examples: Sequence[Example] | pa.RecordBatch, labels: LabelSet, audit: Audit, first_row: int = 0) -> WindowColumns:
        """Return the windows of examples, or of rows of the store, in order; `first_row` is the row of the first example."""
        rows = examples if isinstance(examples, pa.RecordBatch) else to_rows(examples, TO_ENCODE)
        for_tokens = labels.kind in TOKEN_KINDS
        seconds = [None] * len(rows) if for_tokens else rows["text_b"].to_pylist()
        a, b = self.finder.find(rows["text"].to_pylist()), self.finder.find([text or "" for text in seconds])
        windows = self._cut(np.stack([a.counts, b.counts]), np.array([text is not None for text in seconds]))
        audit.count("pieces", len(a.ids) + len(b.ids))
        audit.count("windows", len(windows.example))
        ids = np.concatenate([self._special, a.ids, b.ids])[windows.places]
        num, sizes = len(windows.example), np.diff(windows.bounds)
        numbers = {"example": windows.example + first_row, "second": sizes, "weight": np.ones(num), "score": np.full(num, np.nan)}
        lists = {"ids": (ids, windows.bounds), **dict.fromkeys(("words", "labels", "joined"), (ids[:0], np.zeros(num + 1, np.int64)))}
        if for_tokens:
            lists |= self._token_lists(rows, labels, audit, a, windows)
        else:
            lists["labels"] = self._labels(rows, labels, windows)
            numbers |= {"weight": 1.0 / windows.share, "score": rows["score"].to_numpy(zero_copy_only=False)[windows.example]}
            if self.template.second_type is not None:
                head = windows.parts[:, :2].sum(1) + self.template.second_type
                numbers["second"] = np.where(rows["text_b"].is_valid().to_numpy(False)[windows.example], head, sizes)
        return WindowColumns(numbers, lists)

    def _token_lists(self, rows: pa.RecordBatch, labels: LabelSet, audit: Audit, pieces: Pieces, windows: Windows) -> dict[str, Items]:
        """Return the words that tokens answer and the labels that they learn where they are at home."""
        answers, targets, joined, num_joined = align(rows, pieces, labels, self.settings.label_all_pieces, audit)
        piece = windows.places[windows.at_home] - len(self._special)
        words, learnt = np.full(len(windows.places), -1), np.full(len(windows.places), IGNORED)
        words[windows.at_home], learnt[windows.at_home] = answers[piece], targets[piece]
        of_first = bounds_of(np.where(windows.number == 0, num_joined[windows.example], 0))
        return {"words": (words, windows.bounds), "labels": (learnt, windows.bounds), "joined": (joined, of_first)}

    @staticmethod
    def _labels(rows: pa.RecordBatch, labels: LabelSet, windows: Windows) -> Items:
        """Return the labels of examples at each of their windows."""
        names, counts = rows["labels"].flatten().dictionary_encode(), list_lengths(rows["labels"])
        known = {} if labels.kind == "regress" else labels.ids
        ids = np.array([known.get(name, -1) for name in names.dictionary.to_pylist()], np.int64)[names.indices.to_numpy()]
        bounds = bounds_of(ids >= 0)[bounds_of(counts)]  # (N + 1,) first known label of each example, and the end
        sizes = np.diff(bounds)[windows.example]
        return ids[ids >= 0][ranges(bounds[windows.example], sizes)], bounds_of(sizes)

    def _cut(self, length: Array, is_pair: Array) -> Windows:
        """Return the windows of texts and second texts with so many pieces (2, N); of a text alone the second has none."""
        room = np.where(is_pair, self.room(pair=True), self.room(pair=False))
        most, stride, count = cuts(length, is_pair, room, self.settings.stride)
        share = count.prod(0)
        example = np.repeat(np.arange(len(share)), share)
        number = np.arange(len(example)) - bounds_of(share)[example]
        at = np.stack(np.divmod(number, count[1, example]))  # (2, V)
        start = at * (most - stride)[:, example]
        end = np.minimum(start + most[:, example], length[:, example])
        forms = np.array([[len(part) for part in form] for form in (self.template.single, self.template.pair)])  # (2, 3)
        form_of = is_pair.astype(int)[example]
        bases = len(self._special) + bounds_of(length.ravel())[:-1].reshape(length.shape)[:, example]
        parts, firsts = np.zeros((2, len(example), 5), np.int64)
        parts[:, ::2], parts[:, 1::2] = forms[form_of], (end - start).T
        firsts[:, ::2], firsts[:, 1::2] = bounds_of(forms.ravel())[:-1].reshape(forms.shape)[form_of], (bases + start).T
        places, sizes = ranges(firsts.ravel(), parts.ravel()), parts.sum(1)
        home_start = bases[0] + np.where(at[0], start[0] + stride[0, example] // 2, 0)
        home_end = bases[0] + np.where(end[0] < length[0, example], end[0] - (stride[0, example] + 1) // 2, end[0])
        at_home = (np.repeat(home_start, sizes) <= places) & (places < np.repeat(home_end, sizes))
        return Windows(example, number, share[example], parts, bounds_of(sizes), places, at_home)


def cuts(length: Array, is_pair: Array, room: Array, stride: int) -> tuple[Array, Array, Array]:
    """Return for each side of texts of these lengths (2, N) what a window takes of it, what neighbours share, and how many there are.

    Of a pair the longer side is cut, both where both are longer than half a window.
    """
    shorter = np.where(is_pair, np.minimum(length.min(0), room // 2), 0)
    most = np.maximum(np.where([length[0] >= length[1], length[0] < length[1]], room - shorter, shorter), 1)
    shared = np.minimum(stride, np.where(is_pair, most // 2, most - 1))
    return most, shared, 1 + np.maximum(length - shared - 1, 0) // (most - shared)  # the last ends the text


def _template(tokenizer: Tokenizer) -> Template:
    """Learn the special tokens from what the tokenizer adds to two known texts."""
    one, two = tokenizer.encode("a"), tokenizer.encode("a", "a")
    single = [position for position, special in enumerate(one.special_tokens_mask) if not special]
    text = [position for position, special in enumerate(two.special_tokens_mask) if not special]
    if not single or not text:
        raise ModelError("the tokenizer gives no token for the letter a; it cannot be used")
    half = len(text) // 2
    last_a, first_b = text[half - 1], text[half]
    return Template(
        (one.ids[: single[0]], one.ids[single[-1] + 1 :], []),
        (two.ids[: text[0]], two.ids[last_a + 1 : first_b], two.ids[text[-1] + 1 :]),
        two.type_ids[last_a + 1 : first_b].count(0) if two.type_ids[first_b] else None,
    )


def check_window(max_tokens: int, limit: int | None) -> None:
    """Raise DataError where a window is longer than the model takes."""
    if limit is not None and max_tokens > limit:
        raise DataError(f"encode.max_tokens is {max_tokens}, but this model takes at most {limit} tokens. Set encode.max_tokens: {limit}.")
