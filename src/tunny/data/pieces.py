"""From texts to pieces (tokens) in flat arrays, a chunk at a time; what stands between two spaces is given to the tokenizer once.

Tokenizers of the BERT and GPT-2 families split before each space that stands behind a letter (here: anything but white space), and
what lies between (a unit) becomes the same pieces anywhere. So texts are cut there, and the pieces of units met before are remembered:
two to six times as fast. For all other tokenizers a text is one unit. The pieces are always those of the whole text.

Letters: N texts, C characters of them all, U units, P pieces. Places count the characters of the texts put end to end.
"""

import re
from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tokenizers import Tokenizer

BLOCK = 64  # units given to the tokenizer as the words of one text, which takes less time than one by one
REMEMBERED = 1_000_000  # characters of units met before; then all are forgotten, so memory is bounded
_BLANK = np.array([chr(code).isspace() for code in range(0x3002)])  # the last stands for all above: none is white space

Array = NDArray[Any]  # of integers or truth values, one dimension where nothing is said


class Pieces(NamedTuple):
    """The pieces of several texts, one after another."""

    ids: Array  # (P,)
    starts: Array  # (P,) first letter
    ends: Array  # (P,) behind the last character
    counts: Array  # (N,) pieces of each text
    bases: Array  # (N + 1,) first character of each text, and the end


class PieceFinder:
    """A tokenizer and the pieces of the units that it was given before; threads may share it."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, self._cuts, self._lock = tokenizer, _may_be_cut(tokenizer), Lock()
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, int] = {}  # of each unit in `_known`: the first << 32 | how many
        self._known = np.zeros((0, 3), np.int32)  # id, start and end of pieces
        self._characters = 0  # of the units

    def find(self, texts: Sequence[str]) -> Pieces:
        """Return the pieces of texts, without special tokens."""
        joined, bases = "".join(texts), bounds_of([len(text) for text in texts])
        if not joined:
            none = np.zeros(0, np.int32)
            return Pieces(none, none, none, np.zeros(len(texts), np.int64), bases)
        codes, blank = _characters(joined)
        begins = np.zeros(len(codes) + 1, bool)
        begins[1:-1] = self._cuts & (codes[1:] == ord(" ")) & ~blank[:-1]
        begins[bases] = True
        bounds = np.flatnonzero(begins).astype(np.int32)  # (U + 1,) first character of each unit, and the end
        units = _stretches(joined, bounds).dictionary_encode()
        with self._lock:
            rows = self._rows_of(units.dictionary.to_pylist())[units.indices.to_numpy()]
            counts = rows & 0xFFFFFFFF
            found = self._known[ranges(rows >> 32, counts)]
        found[:, 1:] += np.repeat(bounds[:-1], counts)[:, None]
        return Pieces(found[:, 0], found[:, 1], found[:, 2], np.diff(bounds_of(counts)[np.searchsorted(bounds, bases)]), bases)

    def _rows_of(self, units: list[str]) -> Array:
        if self._characters > REMEMBERED:
            self._forget()
        if new := [unit for unit in units if unit not in self._rows]:
            self._learn(new)
        return np.fromiter(map(self._rows.__getitem__, units), np.int64, len(units))

    def _learn(self, new: list[str]) -> None:
        """Give new units to the tokenizer, each by itself but many at once, and remember their pieces."""
        blocks = [new[at : at + BLOCK] for at in range(0, len(new), BLOCK)]
        encodings = self._tokenizer.encode_batch(blocks, is_pretokenized=True, add_special_tokens=False)
        block_of = np.repeat(np.arange(len(blocks)), [len(encoding) for encoding in encodings])
        unit_of = block_of * BLOCK + np.fromiter(chain.from_iterable(encoding.word_ids for encoding in encodings), np.int64)
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32)
        offsets = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
        starts, ends = np.fromiter(offsets, np.int32).reshape(-1, 2).T
        begins, counts = bounds_of([len(unit) for unit in new]), np.bincount(unit_of, minlength=len(new))
        _, blank = _characters("".join(new))
        letters = np.append(np.where(blank, len(blank), np.arange(len(blank))), len(blank))
        next_letter = np.minimum.accumulate(letters[::-1])[::-1]  # (C + 1,)
        starts = next_letter[starts + begins[unit_of]] - begins[unit_of]
        self._rows.update(zip(new, (len(self._known) + bounds_of(counts)[:-1] << 32 | counts).tolist(), strict=True))
        self._known = np.concatenate([self._known, np.stack([ids, starts, ends], 1).astype(np.int32)])
        self._characters += len(blank)


def bounds_of(lengths: Sequence[int] | Array) -> Array:
    """Return where each of the stretches of these lengths begins, and where the last ends."""
    bounds = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, dtype=np.int64, out=bounds[1:])
    return bounds


def ranges(starts: Array, lengths: Array) -> Array:
    """Return the numbers of stretches, one stretch after another.

    >>> ranges(np.array([5, 9]), np.array([2, 3])).tolist()
    [5, 6, 9, 10, 11]
    """
    bounds = bounds_of(lengths)
    return np.repeat(starts - bounds[:-1], lengths) + np.arange(bounds[-1])


def _characters(text: str) -> tuple[Array, Array]:
    """Return the code of each character and whether it is white space (C,)."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return codes, _BLANK[np.minimum(codes, len(_BLANK) - 1)]


def _stretches(text: str, bounds: Array) -> pa.StringArray:
    """Return the strings between bounds, without copying any."""
    data = np.frombuffer(text.encode(), np.uint8)
    byte_of = np.append(np.flatnonzero(data & 0xC0 != 0x80), len(data)).astype(np.int32)
    return pa.StringArray.from_buffers(len(bounds) - 1, pa.py_buffer(byte_of[bounds]), pa.py_buffer(data))


def _may_be_cut(tokenizer: Tokenizer) -> bool:
    """Return whether texts may be cut before spaces behind letters, and the pieces stay the same.

    BERT splits at white space; GPT-2's expression lets a space only begin a piece. The normalizers named here never change a
    character for what stands beyond a space. No added token may reach over one.
    """
    splitter, normal = tokenizer.pre_tokenizer, type(tokenizer.normalizer).__name__
    splits = type(splitter).__name__ == "BertPreTokenizer" or (type(splitter).__name__ == "ByteLevel" and splitter.use_regex)
    reaching = (token.rstrip or re.search(r"\S\s", token.content) for token in tokenizer.get_added_tokens_decoder().values())
    return splits and normal in ("NoneType", "BertNormalizer", "NFC", "Lowercase") and not any(reaching)
