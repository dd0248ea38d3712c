"""From text to windows of token ids, without losing a word: the original text goes to the tokenizer, its offsets come back.

A word's answer is given by its own first token: the first that begins in it. A token that runs over several words is the
first one's; the others are `joined` to it (they continue its tag). A word that gives no token at all (a zero-width space) is
unlabelled for the model and gets its tag from its neighbours when decoding. Long texts become overlapping windows; each token has
one home, the window in which it has most context, and is learnt and answered only there.

Letters: P pieces (tokens) and W words of a batch of examples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from tunny.core.errors import DataError, ModelError
from tunny.core.files import digest_bytes
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS, EncodeSettings
from tunny.data.store import WINDOWS
from tunny.data.tags import inside_of, word_tags
from tunny.data.words import words_of

IGNORED = -100
_SPACES = np.array([code for code in range(0x3001) if chr(code).isspace()], dtype=np.uint32)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Template:
    """The special tokens around one text or two: `before A after` and `before_a A between B after_b`."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    pair_before: tuple[int, ...]
    pair_between: tuple[int, ...]
    pair_after: tuple[int, ...]
    second_type: int | None  # special tokens of `pair_between` in the first segment; None: the second text is of type 0 too


class Encoder:
    """A fast tokenizer with truncation and padding off, its special tokens, and the settings of windows."""

    def __init__(self, tokenizer: Tokenizer, settings: EncodeSettings):
        self.tokenizer = tokenizer
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.settings = settings
        self.template = _template(tokenizer)
        self.digest = digest_bytes(tokenizer.to_str())
        if self.room(pair=True) < 2 or self.room(pair=False) <= settings.stride:
            raise ModelError(
                f"encode.max_tokens {settings.max_tokens} with encode.stride {settings.stride} leaves no room for text beside "
                "the special tokens. Raise max_tokens or lower stride."
            )

    def room(self, pair: bool) -> int:
        """Return how many tokens of text a window takes."""
        t = self.template
        special = len(t.pair_before + t.pair_between + t.pair_after) if pair else len(t.before + t.after)
        return self.settings.max_tokens - special

    def encode(self, examples: Sequence[Example], labels: LabelSet, audit: Audit, first_row: int = 0) -> pa.RecordBatch:
        """Return the windows of a batch of examples in order; `first_row` is the row of the first example."""
        rows = _Rows()
        if labels.kind in TOKEN_KINDS:
            self._encode_tokens(examples, labels, audit, first_row, rows)
        else:
            self._encode_sequences(examples, labels, audit, first_row, rows)
        audit.count("windows", len(rows.columns["example"]))
        return rows.batch()

    # -- token tasks ---------------------------------------------------------------------------------------------------

    def _encode_tokens(self, examples: Sequence[Example], labels: LabelSet, audit: Audit, first_row: int, rows: "_Rows") -> None:
        encodings = self.tokenizer.encode_batch([example.text for example in examples], add_special_tokens=False)
        words = [words_of(example) for example in examples]
        owners, joined = assign_pieces(examples, words, encodings)
        ids = labels.ids
        for number, example in enumerate(examples):
            own, first = owners[number]
            pieces = encodings[number].ids
            targets = _piece_targets(example, words[number], own, first, ids, labels, self.settings.label_all_pieces, audit)
            answers = np.where(first, own, -1)
            audit.take("words", len(words[number]))
            audit.give("words", int(first.sum()) + len(joined[number]))
            audit.count("pieces", len(pieces))
            mute = len(words[number]) - int(first.sum()) - len(joined[number])
            if mute:
                audit.give("words", mute)
                audit.repair("words", "words without tokens", example.id, f"{mute} get their tag from their neighbours", mute)
            if joined[number]:
                held = len(joined[number])
                audit.repair("words", "words inside the token of the word before", example.id, f"{held} continue its tag", held)
            self._token_windows(first_row + number, pieces, answers, targets, joined[number], rows)

    def _token_windows(self, row: int, pieces: list[int], answers: Ints, targets: Ints, joined: list[int], rows: "_Rows") -> None:
        before, after = self.template.before, self.template.after
        bounds = window_bounds(len(pieces), self.room(pair=False), self.settings.stride)
        for number, (start, end) in enumerate(bounds):
            home_start = 0 if number == 0 else (start + bounds[number - 1][1]) // 2
            home_end = len(pieces) if number + 1 == len(bounds) else (bounds[number + 1][0] + end) // 2
            at_home = np.zeros(end - start, bool)
            at_home[home_start - start : home_end - start] = True
            ids = [*before, *pieces[start:end], *after]
            pad_left, pad_right = [-1] * len(before), [-1] * len(after)
            rows.add(
                example=row, ids=ids, second=len(ids), weight=1.0, score=float("nan"), joined=joined if number == 0 else [],
                words=[*pad_left, *np.where(at_home, answers[start:end], -1).tolist(), *pad_right],
                labels=[*[IGNORED] * len(before), *np.where(at_home, targets[start:end], IGNORED).tolist(), *[IGNORED] * len(after)],
            )  # fmt: skip

    # -- sequence tasks ------------------------------------------------------------------------------------------------

    def _encode_sequences(self, examples: Sequence[Example], labels: LabelSet, audit: Audit, first_row: int, rows: "_Rows") -> None:
        encodings = self.tokenizer.encode_batch([example.text for example in examples], add_special_tokens=False)
        seconds = self.tokenizer.encode_batch([example.text_b or "" for example in examples], add_special_tokens=False)
        ids = labels.ids
        for number, example in enumerate(examples):
            pair = example.text_b is not None
            a, b = encodings[number].ids, seconds[number].ids
            windows = list(self._sequence_windows(a, b, pair))
            target = (
                [ids[name] for name in example.labels if name in ids] if example.labels is not None and labels.kind != "regress" else []
            )
            audit.count("pieces", len(a) + len(b))
            for window, second in windows:
                rows.add(
                    example=first_row + number, ids=window, second=second, weight=1.0 / len(windows), joined=[], words=[],
                    labels=target, score=float("nan") if example.score is None else example.score,
                )  # fmt: skip

    def _sequence_windows(self, a: list[int], b: list[int], pair: bool) -> Iterator[tuple[list[int], int]]:
        """Yield `(ids, second)`; of a pair the longer side is windowed, both where both are longer than half a window."""
        t, stride = self.template, self.settings.stride
        if not pair:
            for start, end in window_bounds(len(a), self.room(pair=False), stride):
                ids = [*t.before, *a[start:end], *t.after]
                yield ids, len(ids)
            return
        room = self.room(pair=True)
        shorter = min(len(a), len(b), room // 2)
        room_a, room_b = (room - shorter, shorter) if len(a) >= len(b) else (shorter, room - shorter)
        for start_a, end_a in window_bounds(len(a), max(room_a, 1), min(stride, room_a // 2)):
            for start_b, end_b in window_bounds(len(b), max(room_b, 1), min(stride, room_b // 2)):
                head = [*t.pair_before, *a[start_a:end_a], *t.pair_between]
                ids = [*head, *b[start_b:end_b], *t.pair_after]
                yield ids, len(ids) if t.second_type is None else len(head) - len(t.pair_between) + t.second_type


def window_bounds(length: int, room: int, stride: int) -> list[tuple[int, int]]:
    """Return the token ranges of the windows of a text: each shares `stride` tokens with the next, the last ends the text.

    >>> window_bounds(10, 6, 2)
    [(0, 6), (4, 10)]
    """
    bounds = [(0, min(room, length))]
    while bounds[-1][1] < length:
        start = bounds[-1][0] + room - stride
        bounds.append((start, min(start + room, length)))
    return bounds


def assign_pieces(
    examples: Sequence[Example], words: Sequence[Sequence[tuple[int, int]]], encodings: Sequence[Encoding]
) -> tuple[list[tuple[Ints, NDArray[np.bool_]]], list[list[int]]]:
    """Return, for each example, which word each piece belongs to (P,) with whether it is that word's first (P,), and the
    words joined to the word before them.

    A piece belongs to the first word that its characters, white space at its start left out, overlap; -1 where none.
    """
    lengths = np.array([len(example.text) for example in examples], dtype=np.int64)
    bases = np.concatenate([[0], np.cumsum(lengths + 1)])  # one space between texts keeps them apart
    codes = np.frombuffer((" ".join(example.text for example in examples) + " ").encode("utf-32-le"), dtype=np.uint32)
    positions = np.where(np.isin(codes, _SPACES), len(codes), np.arange(len(codes)))
    next_letter = np.append(np.minimum.accumulate(positions[::-1])[::-1], len(codes))
    counts = [len(encoding) for encoding in encodings]
    offsets = np.array([offset for encoding in encodings for offset in encoding.offsets], dtype=np.int64).reshape(-1, 2)
    offsets += np.repeat(bases[:-1], counts)[:, None]
    num_words = [len(found) for found in words]
    word_bases = np.concatenate([[0], np.cumsum(num_words)])
    ranges = np.array([word for found in words for word in found], dtype=np.int64).reshape(-1, 2)
    ranges += np.repeat(bases[:-1], num_words)[:, None]
    starts = next_letter[np.minimum(offsets[:, 0], len(codes))]
    ends = offsets[:, 1]
    owner = np.searchsorted(ranges[:, 1], starts, side="right")
    covers = (owner < len(ranges)) & (starts < ends)
    covers[covers] = ranges[owner[covers], 0] < ends[covers]
    owner = np.where(covers, owner, -1)
    first = np.zeros(len(owner), bool)
    first[np.unique(owner, return_index=True)[1]] = True
    first &= covers
    owned = np.zeros(len(ranges), bool)
    owned[owner[first]] = True
    last = np.searchsorted(ranges[:, 0], ends, side="left") - 1
    joined: list[list[int]] = [[] for _ in examples]
    for piece in np.nonzero(covers & (last > owner))[0]:
        example = int(np.searchsorted(word_bases, owner[piece], side="right") - 1)
        for word in range(int(owner[piece]) + 1, int(last[piece]) + 1):
            if not owned[word] and ranges[word, 1] > ranges[word, 0]:
                owned[word] = True
                joined[example].append(word - int(word_bases[example]))
    piece_bases = np.concatenate([[0], np.cumsum(counts)])
    found = []
    for number in range(len(examples)):
        part = slice(piece_bases[number], piece_bases[number + 1])
        found.append((np.where(covers[part], owner[part] - word_bases[number], -1), first[part]))
    return found, joined


def _piece_targets(
    example: Example, words: Sequence[tuple[int, int]], own: Ints, first: NDArray[np.bool_], ids: dict[str, int],
    labels: LabelSet, label_all: bool, audit: Audit,
) -> Ints:  # fmt: skip
    """Return the label id that each piece learns (P,), -100 where it learns nothing."""
    targets = np.full(len(own), IGNORED, dtype=np.int64)
    if example.spans is None:
        return targets
    tags = word_tags(example, words, labels.kind, audit, "spans to learn")
    by_word = np.array([IGNORED if tag is None else ids.get(tag, IGNORED) for tag in tags], dtype=np.int64)
    targets[first] = by_word[own[first]]
    if label_all:
        inside = np.array([IGNORED if tag is None else ids.get(inside_of(tag), IGNORED) for tag in tags], dtype=np.int64)
        later = (own >= 0) & ~first
        targets[later] = inside[own[later]]
    return targets


class _Rows:
    """The columns of the windows being made."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in WINDOWS.names}

    def add(self, **values: object) -> None:
        for name, value in values.items():
            self.columns[name].append(value)

    def batch(self) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([pa.array(self.columns[field.name], field.type) for field in WINDOWS], schema=WINDOWS)


def _template(tokenizer: Tokenizer) -> Template:
    """Learn the special tokens from what the tokenizer adds to two known texts."""
    one, two = tokenizer.encode("a"), tokenizer.encode("a", "a")
    single = [position for position, special in enumerate(one.special_tokens_mask) if not special]
    text = [position for position, special in enumerate(two.special_tokens_mask) if not special]
    if not single or not text:
        raise ModelError("the tokenizer gives no token for the letter a; it cannot be used")
    half = len(text) // 2
    last_a, first_b = text[half - 1], text[half]
    between = tuple(two.ids[last_a + 1 : first_b])
    types = two.type_ids[last_a + 1 : first_b]
    return Template(
        tuple(one.ids[: single[0]]), tuple(one.ids[single[-1] + 1 :]), tuple(two.ids[: text[0]]), between,
        tuple(two.ids[text[-1] + 1 :]), types.count(0) if two.type_ids[first_b] else None,
    )  # fmt: skip


def check_window(max_tokens: int, limit: int | None) -> None:
    """Raise DataError where a window is longer than the model takes."""
    if limit is not None and max_tokens > limit:
        raise DataError(f"encode.max_tokens is {max_tokens}, but this model takes at most {limit} tokens. Set encode.max_tokens: {limit}.")
