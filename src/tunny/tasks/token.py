"""Token classification: entities, parts of speech, chunks.

A word is answered at its own token; the answer is the best tag sequence that the scheme allows, as exact character spans of the
input text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.core.errors import ModelError
from tunny.data.example import Example
from tunny.data.inputs import Padding
from tunny.data.labels import LabelSet
from tunny.data.store import WindowColumns
from tunny.data.tags import Scheme, scheme_of, tags_to_spans
from tunny.data.words import words_of
from tunny.metrics.calibration import Tuned
from tunny.tasks.base import Answer, Floats, Scorer
from tunny.tasks.decode import best_path, log_softmax, tag_rules
from tunny.tasks.scoring import scorer_of
from tunny.tasks.settings import TokenTaskSettings

EDGE = 64  # tokens of context that a word should have on either side where its text goes on


class TokenTask:
    """Labels tokens; `labels.names` are the model's tags in id order."""

    def __init__(self, settings: TokenTaskSettings, labels: LabelSet, padding: Padding):
        self.settings, self.labels, self.padding = settings, labels, padding
        self.metric = "token_accuracy" if settings.kind == "pos" else "f1"
        self.scheme: Scheme = "none" if settings.kind == "pos" else scheme_of(labels.names)
        if self.scheme == "none" and settings.kind != "pos":
            raise ModelError(
                f"its labels ({', '.join(labels.names[:5])} ...) are no tags such as B-PER; it cannot serve --task {settings.kind}"
            )
        self.tuned = Tuned()
        self.rules = tag_rules(labels.names, self.scheme)

    def merged(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Floats]:
        """Return the logits of all words of each example (W, K), nan for a word that no token answers."""
        bounds, own, _, word = _answering([words_of(example) for example in examples], windows, first_row)
        found = np.full((bounds[-1], len(self.labels.names)), np.nan, dtype=np.float32)
        if len(own):
            found[word] = np.concatenate(logits)[own]
        return np.split(found, bounds[1:-1])

    def answers(self, examples: Sequence[Example], windows: WindowColumns, first_row: int, logits: Sequence[Floats]) -> list[Answer]:
        """Merge windows (each word has one home), decode, and return spans or tags with their scores; all examples at once.

        Letters: P tokens of all windows, W words of all examples.
        """
        words = [words_of(example) for example in examples]
        bounds, own, at, word = _answering(words, windows, first_row)
        gold = windows.flat("labels")  # (P,)
        scores = np.zeros((bounds[-1], len(self.labels.names)), dtype=np.float32)  # (W, K)
        answered = np.zeros(len(scores), dtype=bool)
        if len(own):
            log_probs = log_softmax(np.concatenate(logits)[own])
            scores[word], answered[word] = log_probs, True
        known = np.nonzero((gold[own] >= 0) & (self.scheme in ("IOB2", "none")))[0]  # windows hold IOB2; other schemes have no loss
        targets, losses = np.zeros((2, len(examples)))
        if len(known):
            np.add.at(targets, at[known], 1)
            np.add.at(losses, at[known], -log_probs[known, gold[own][known]])
        paths = self._paths(scores, answered, bounds, windows, first_row)
        chosen = np.where(answered, scores[np.arange(len(paths)), paths], np.nan).astype(np.float32)
        probabilities = np.exp(chosen)
        near, cut = np.zeros(len(scores), dtype=bool), np.bincount(windows.example - first_row, minlength=len(examples)) > 1
        if cut.any():
            near[word] = _near_cut(windows)[own]
        found = []
        for number, example in enumerate(examples):
            part = slice(bounds[number], bounds[number + 1])
            prediction = self._prediction(example, words[number], paths[part], chosen[part])
            sums = float(losses[number]), float(targets[number])
            found.append(Answer(prediction, paths[part], probabilities[part], *sums, near[part] if cut[number] else None, scores[part]))
        return found

    def _paths(
        self, scores: Floats, answered: NDArray[np.bool_], bounds: NDArray[np.int64], windows: WindowColumns, first_row: int
    ) -> NDArray[np.int64]:
        """Return the tag of every word (W,): the likeliest, and where the scheme forbids those of an example, its best path."""
        paths = np.asarray(scores.argmax(axis=1), dtype=np.int64)
        starts, ends = bounds[:-1][np.diff(bounds) > 0], bounds[1:][np.diff(bounds) > 0] - 1
        broken = ~answered
        broken[1:] |= ~self.rules.follow[paths[:-1], paths[1:]]
        broken[starts] = ~answered[starts] | ~self.rules.first[paths[starts]]
        broken[ends] |= ~self.rules.last[paths[ends]]
        for number in np.unique(np.searchsorted(bounds, np.nonzero(broken)[0], side="right") - 1) if broken.any() else ():
            part = slice(bounds[number], bounds[number + 1])
            joined = [word for row in np.nonzero(windows.example == first_row + number)[0] for word in windows[int(row)].joined.tolist()]
            silent = ~answered[part]
            silent[joined] = False
            paths[part] = best_path(scores[part], self.rules, joined, np.nonzero(silent)[0].tolist())
        return paths

    def _prediction(
        self, example: Example, words: Sequence[tuple[int, int]], path: NDArray[np.int64], log_probs: Floats
    ) -> dict[str, object]:
        if self.settings.kind == "pos":
            tags = [self.labels.names[tag] for tag in path]
            return {"id": example.id, "text": example.text, "words": [list(word) for word in words], "tags": tags}
        spans: list[dict[str, object]] = []
        if (path != self.rules.outside).any():
            for first, last, label in tags_to_spans([self.labels.names[tag] for tag in path], self.scheme)[0]:
                inside = log_probs[first : last + 1]
                sure = float(np.exp(np.nanmean(inside))) if not np.isnan(inside).all() else 0.0
                spans.append({"start": words[first][0], "end": words[last][1], "label": label, **self.tuned.scored(sure)})
        return {"id": example.id, "text": example.text, "spans": spans}

    def scorer(self) -> Scorer:
        """Return an empty scorer."""
        return scorer_of(self.labels)


def _near_cut(windows: WindowColumns) -> NDArray[np.bool_]:
    """Return for every token (P,) whether the text goes on beyond its window, fewer than `EDGE` tokens away."""
    lengths, first = windows.lengths, np.concatenate([[True], np.diff(windows.example) > 0, [True]])
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    before = np.where(np.repeat(first[:-1], lengths), EDGE, place)
    behind = np.where(np.repeat(first[1:], lengths), EDGE, np.repeat(lengths, lengths) - 1 - place)
    return np.asarray(np.minimum(before, behind) < EDGE)


def _answering(words: Sequence[Sequence[tuple[int, int]]], windows: WindowColumns, first_row: int) -> tuple[NDArray[Any], ...]:
    """Return the first word of each example, and the end; the tokens that answer a word, their examples, and their words among all."""
    bounds, place = np.cumsum([0, *map(len, words)], dtype=np.int64), windows.flat("words")
    own = np.nonzero(place >= 0)[0]
    at = np.repeat(windows.example - first_row, windows.lengths)[own]
    return bounds, own, at, bounds[at] + place[own]
