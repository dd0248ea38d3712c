"""Which word each piece answers and what it learns: a chunk of examples at a time, in flat arrays.

A word's answer is given by its own first piece: the first that begins in it. A piece that runs over several words is the first
one's; the others are `joined` to it (they continue its tag). A word that gives no piece at all (a zero-width space) is unlabelled
for the model and gets its tag from its neighbours when decoding.

Letters: N examples, W words, P pieces, S spans. Places count the characters of the texts put end to end.
"""

from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tunny.data.audit import Audit
from tunny.data.labels import LabelSet
from tunny.data.pieces import Array, Pieces, bounds_of, ranges
from tunny.data.store import from_rows, list_lengths
from tunny.data.tags import inside_of, word_tags
from tunny.data.words import find_words, words_of

IGNORED = -100


class Words(NamedTuple):
    """The words of several texts, one after another."""

    starts: Array  # (W,) first character
    ends: Array  # (W,) behind the last
    bounds: Array  # (N + 1,) first word of each text, and the end


def align(rows: pa.RecordBatch, pieces: Pieces, labels: LabelSet, label_all: bool, audit: Audit) -> tuple[Array, Array, Array, Array]:
    """Account for the words and spans of examples and return what their pieces do.

    These are, for each piece, the number of the word that it answers or -1, and the label id that it learns or -100; then the
    numbers of the joined words, and how many each example has.
    """
    words = words_in(rows, pieces.bases)
    owner, first, joined = _owners(words, pieces)
    learnt = _learnt(rows, words, pieces.bases, labels, audit)
    answers, targets = np.full(len(owner), -1), np.full(len(owner), IGNORED)
    answered, joined_to = np.flatnonzero(first >= 0), np.searchsorted(words.bounds, joined, side="right") - 1
    answers[first[answered]] = answered - np.repeat(words.bounds[:-1], np.diff(words.bounds))[answered]
    if label_all:
        targets[owner >= 0] = learnt[owner[owner >= 0], 1]
    targets[first[answered]] = learnt[answered, 0]
    num_joined = np.bincount(joined_to, minlength=len(pieces.counts))
    num_mute = np.diff(words.bounds) - np.diff(np.searchsorted(answered, words.bounds)) - num_joined
    audit.take("words", len(first))
    audit.give("words", len(first))
    for row in np.flatnonzero(num_mute + num_joined).tolist():
        where, mute, held = rows["id"][row].as_py(), int(num_mute[row]), int(num_joined[row])
        if mute:
            audit.repair("words", "words without tokens", where, f"{mute} get their tag from their neighbours", mute)
        if held:
            audit.repair("words", "words inside the token of the word before", where, f"{held} continue its tag", held)
    return answers, targets, joined - words.bounds[joined_to], num_joined


def words_in(rows: pa.RecordBatch, bases: Array) -> Words:
    """Return the words of examples whose texts begin at `bases`: those of their source, or those found in the text."""
    starts, ends = rows["word_starts"], rows["word_ends"]
    if starts.null_count:
        given = zip(rows["text"].to_pylist(), starts.to_pylist(), ends.to_pylist(), strict=True)
        found = [find_words(text) if own is None else tuple(zip(own, other, strict=True)) for text, own, other in given]
        counts = np.array([len(words) for words in found])
        places = np.fromiter(chain.from_iterable(chain.from_iterable(found)), np.int64).reshape(-1, 2).T
    else:
        counts = list_lengths(starts)
        places = np.stack([starts.flatten().to_numpy(), ends.flatten().to_numpy()])
    places = places + np.repeat(bases[:-1], counts)
    return Words(places[0], places[1], bounds_of(counts))


def _owners(words: Words, pieces: Pieces) -> tuple[Array, Array, Array]:
    """Return the word of each piece (P,), the first one whose characters it has, or -1; the first piece of each word (W,), or -1;
    and the words that have none but share the piece of the word before them.
    """
    starts, ends = pieces.starts, pieces.ends
    begins = np.append(words.starts, [2**62, 2**62])  # of the word behind the last, and of the next
    owner = np.searchsorted(words.ends, starts, side="right")
    owner[(ends <= begins[owner]) | (ends <= starts)] = -1
    first = np.full(len(words.ends) + 1, -1)
    first[owner[::-1]] = np.arange(len(owner))[::-1]  # what is written last stays
    over = np.flatnonzero((owner >= 0) & (begins[owner + 1] < ends))
    shared = np.unique(ranges(owner[over] + 1, np.searchsorted(words.starts, ends[over]) - owner[over] - 1))
    return owner, first[:-1], shared[(first[shared] < 0) & (words.starts[shared] < words.ends[shared])]


def _learnt(rows: pa.RecordBatch, words: Words, bases: Array, labels: LabelSet, audit: Audit) -> Array:
    """Return the label ids that the first piece of each word learns and that its others may learn (W, 2), -100 for none.

    Examples whose words cannot say all their spans exactly are tagged one by one, and the audit says what becomes of these.
    """
    unit, is_pos, spans = "spans to learn", labels.kind == "pos", rows["spans"]
    if spans.null_count == len(spans):  # texts to be labelled
        return np.full((len(words.ends), 2), IGNORED)
    ids: dict[Any, int] = labels.ids
    example, flat = pc.list_parent_indices(spans).to_numpy(), spans.flatten()
    names = flat.field("label").dictionary_encode()
    starts, ends = (flat.field(name).to_numpy() + bases[example] for name in ("start", "end"))
    first, behind = np.searchsorted(words.ends, starts, side="right"), np.searchsorted(words.starts, ends)  # words of each span
    exact = (first < behind) & (behind <= words.bounds[example + 1])
    exact[exact] = (words.starts[first[exact]] == starts[exact]) & (words.ends[behind[exact] - 1] == ends[exact])
    exact[1:] &= behind[:-1] <= first[1:]
    exact &= (behind - first == 1) | (not is_pos)
    odd = np.unique(example[~exact])
    exact &= ~np.isin(example, odd)
    if exact.any() or (is_pos and spans.null_count < len(spans)):
        audit.take(unit, int(exact.sum()))
        audit.give(unit, int(exact.sum()))
    tags = [(name, inside_of(name)) if is_pos else (f"B-{name}", f"I-{name}") for name in names.dictionary.to_pylist()]
    known = np.array([[ids.get(tag, IGNORED) for tag in pair] for pair in tags], np.int64).reshape(-1, 2)[names.indices.to_numpy()[exact]]
    found = np.full((len(words.ends), 2), IGNORED if is_pos else ids.get("O", IGNORED))
    found[np.repeat(spans.is_null().to_numpy(zero_copy_only=False), np.diff(words.bounds))] = IGNORED
    found[ranges(first[exact], (behind - first)[exact])] = np.repeat(known[:, 1:], (behind - first)[exact], axis=0)
    found[first[exact], 0] = known[:, 0]
    found[first[exact], 1] = np.where(known[:, 1] == IGNORED, known[:, 0], known[:, 1])
    if cut := int(((known[:, 1] == IGNORED) & (known[:, 0] != IGNORED) & ((behind - first)[exact] > 1)).sum()):
        audit.event("spans of several words without an I- tag in data.labels", "spans", "only their first words are learnt", cut)
    for row, one in zip(odd.tolist(), from_rows(rows.take(pa.array(odd))), strict=True):
        for word, tag in enumerate(word_tags(one, words_of(one), labels.kind, audit, unit), words.bounds[row]):
            found[word] = ids.get(tag, IGNORED), ids.get(tag and inside_of(tag), ids.get(tag, IGNORED))
    return found
