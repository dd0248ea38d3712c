"""Which gold labels are doubtful: those of little probability that the answer disputes, the most suspicious first.

Witnesses are multiplied: a model that did not learn from these rows, and of words a linear tagger of their forms, which did not either
(`forms.py`), and how much more often than others the same word has a label elsewhere (of a rare one, words of its ending), and the words
that stand beside its neighbours, which count half. The answer is what model and tagger say together. Kinds of doubt take turns, as their probabilities do not compare: most words have no label, so a label that nobody expects is always less likely
than a lack of one that somebody does. Where most of what the model finds in neighbouring rows is not labelled, somebody stopped
labelling: such a stretch is one doubt, or its spans would fill the list.

Letters: W words, K tags, D words whose tag is disputed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from math import log
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunny.data.example import Example
from tunny.data.labels import LabelSet
from tunny.data.settings import TOKEN_KINDS
from tunny.data.tags import Scheme, scheme_of, spans_to_tags, tags_to_spans, word_tags
from tunny.data.words import words_of
from tunny.evaluation.forms import cross_fitted
from tunny.metrics.sums import Floats
from tunny.tasks.base import Answer
from tunny.tasks.decode import best_path, tag_rules

Answered = Iterable[tuple[int, Example, Answer]]  # each with the number of its row
View = tuple[str, str]  # what is looked at, and how it reads
Views = defaultdict[View, NDArray[np.float64]]  # -> (types,) how many of such words have each type
Decision = tuple[tuple[View, ...], int, NDArray[Any]]  # views of a word, its gold tag, (K,) logarithms of the model's probabilities

FEW = 5.0  # words that must share an ending or a neighbour before they count for more than all words
FAR = 3.0  # standard deviations from which a value is far off
LEAST = 1e-9  # probability below which no difference is made
LEFT_OUT = 0.8  # share of the spans found that have no label, in a stretch that nobody labelled
STRETCH = 12.0  # logarithm of how much better such a stretch must explain its rows
WHATS = ("unlabelled stretch", "wrong label", "missing span", "spurious span", "boundary", "far-off value")


@dataclass(frozen=True)
class Doubt:
    """A gold label, or the lack of one, that is doubtful."""

    row: int
    example: Example
    prediction: dict[str, Any]  # the model's answer to the whole example
    what: str = "wrong label"  # one of WHATS
    start: int = 0  # characters; 0 and 0: the whole example
    end: int = 0
    gold: str = ""  # for people
    answer: str = ""
    score: float = 0.0  # compares within a kind
    members: tuple["Doubt", ...] = ()  # of a stretch


def rank(answered: Answered, labels: LabelSet) -> list[Doubt]:
    """Return the doubts about examples, each given with the number of its row and a model's answer; rows are in order of their files."""
    if labels.kind in TOKEN_KINDS:
        words = _Words(labels)
        for row, example, answer in answered:
            if example.spans is not None:
                words.add(Doubt(row, example, answer.prediction), answer)
        doubts = words.doubts()
    else:
        doubts = (_far if labels.kind == "regress" else _texts)(answered, labels)
    numbers: defaultdict[str, Iterator[int]] = defaultdict(count)  # the most suspicious of each kind, then the second ones, and so on
    by_score = sorted(doubts, key=lambda doubt: (-doubt.score, doubt.row, doubt.start))
    return [doubt for _, _, doubt in sorted((next(numbers[one.what]), place, one) for place, one in enumerate(by_score))]


def _far(answered: Answered, labels: LabelSet) -> Iterator[Doubt]:
    """Yield the values that are far off, with their distance in standard deviations, by the median deviation."""
    doubts = [Doubt(row, example, answer.prediction) for row, example, answer in answered if example.score is not None]
    gaps = [float(one.prediction["value"]) - (one.example.score or 0.0) for one in doubts] or [0.0]
    middle = median(gaps)
    spread = 1.4826 * median([abs(gap - middle) for gap in gaps]) or LEAST
    for doubt, gap in zip(doubts, gaps, strict=False):
        if (far := abs(gap - middle) / spread) > FAR:
            gold, answer = f"{doubt.example.score:g}", f"{doubt.prediction['value']:.4g}"
            yield replace(doubt, what="far-off value", gold=gold, answer=answer, score=far)


def _texts(answered: Answered, labels: LabelSet) -> Iterator[Doubt]:
    """Yield the labels of texts that answers at least as sure as is usual dispute, by confident learning (Northcutt et al. 2021): usual is
    the mean probability of a class where it is the gold label, so one that the model never gets right does not fill the list.
    """
    usual, found = defaultdict[str, list[float]](list), list[tuple[Doubt, float, float]]()
    for row, example, answer in answered:
        for (old, believed), (new, sure) in _decisions(example, answer, labels):
            usual[old].append(believed)
            if old != new:
                found.append((Doubt(row, example, answer.prediction, gold=old, answer=new), believed, sure))
    means = {name: max(fmean(values), LEAST) for name, values in usual.items()}
    for doubt, believed, sure in found:
        if (share := sure / means.get(doubt.answer, sure)) >= 1:
            yield replace(doubt, score=log(share) - log(believed / means[doubt.gold]))


def _decisions(example: Example, answer: Answer, labels: LabelSet) -> Iterator[tuple[tuple[str, float], tuple[str, float]]]:
    """Yield what is labelled and what is answered, each with its probability: of a class once, of several labels for each."""
    scores, given = np.maximum(answer.scores, LEAST).tolist(), answer.labels.tolist()
    if labels.kind == "classify" and example.labels:
        old = example.labels[0]
        yield (old, scores[labels.ids[old]]), (labels.names[given[0]], scores[given[0]])
    elif labels.kind == "multilabel" and example.labels is not None:
        for number, (name, score) in enumerate(zip(labels.names, scores, strict=True)):
            sides = ((f"no {name}", max(1 - score, LEAST)), (name, score))
            yield sides[name in example.labels], sides[number in given]


class _Text(NamedTuple):
    """The words of one text: how they are labelled, and what a model says of them."""

    whole: Doubt
    words: Sequence[tuple[int, int]]
    forms: list[str]
    gold: list[str]
    views: list[tuple[View, ...]]
    logs: NDArray[Any]  # (W, K)
    told: NDArray[np.bool_]  # (W,): words without tokens have no probabilities


class _Words:
    """Collects how words are labelled and what a model says of them, then what is disputed."""

    def __init__(self, labels: LabelSet):
        self.labels, self.is_pos = labels, labels.kind == "pos"
        self.scheme: Scheme = "none" if self.is_pos else scheme_of(labels.names)
        self.rules = tag_rules(labels.names, self.scheme)
        types = [name if self.is_pos or name == "O" else name[2:] for name in labels.names]  # of entities, O among them; of pos the tags
        self.num_types, self.type_of = len(set(types)), np.unique(types, return_inverse=True)[1]  # (K,)
        self.seen = Counter[tuple[View, int]]()  # of a view of a word with a type
        self.found = dict[int, int]()  # row -> spans that the model found
        self.disputes, self.texts = list[tuple[Doubt, list[Decision]]](), list[_Text]()

    def add(self, whole: Doubt, answer: Answer) -> None:
        """Take in the words of an example."""
        example, words, ids = whole.example, words_of(whole.example), self.labels.ids
        gold = [tag or "" for tag in word_tags(example, words, self.labels.kind)]
        forms = [example.text[start:end] for start, end in words]
        views = _views(forms)
        assert answer.logs is not None
        self.texts.append(_Text(whole, words, forms, gold, views, answer.logs, ~np.isnan(answer.scores)))
        for tag, known in zip(gold, views, strict=True):
            if tag in ids:
                self.seen.update((view, int(self.type_of[ids[tag]])) for view in known)

    def doubts(self) -> Iterator[Doubt]:
        """Ask the forms of all words too, and yield what is doubtful, the doubts of a stretch together."""
        tags = np.array([self.labels.ids.get(tag, -1) for text in self.texts for tag in text.gold], dtype=np.int64)
        told = cross_fitted([text.forms for text in self.texts], tags, len(self.labels.names))
        ends = np.cumsum([0, *(len(text.words) for text in self.texts)])
        for text, (first, end) in zip(self.texts, pairwise(ends), strict=True):
            self._dispute(text, text.logs + told[first:end])
        counts: Views = defaultdict(lambda: np.zeros(self.num_types))
        for (view, number), times in self.seen.items():
            counts[view][number] += times
        usual = sum((each for view, each in counts.items() if view[0] == "word"), np.zeros(self.num_types)) + LEAST
        scored = [replace(doubt, score=self._score(decisions, counts, usual / usual.sum())) for doubt, decisions in self.disputes]
        missing = sorted((doubt for doubt in scored if doubt.what == "missing span"), key=lambda doubt: (doubt.row, doubt.start))
        for first, end, strength in _stretches(Counter(doubt.row for doubt in missing), self.found):
            inside = tuple(doubt for doubt in missing if first <= doubt.row < end)
            answer = f"{len(inside)} spans in {end - first} rows"
            yield replace(inside[0], what="unlabelled stretch", gold="nothing", answer=answer, score=strength, members=inside)
            scored = [doubt for doubt in scored if doubt.what != "missing span" or not first <= doubt.row < end]
        yield from scored

    def _dispute(self, text: _Text, logs: NDArray[Any]) -> None:
        """Keep what is disputed in one text, by the logarithms (W, K) of both witnesses together."""
        words, gold, ids = text.words, text.gold, self.labels.ids
        path = [self.labels.names[tag] for tag in best_path(logs, self.rules, [], np.nonzero(~text.told)[0].tolist())]
        best, answer = path, dict[str, Any](tags=path)
        if not self.is_pos:
            found = tags_to_spans(path, self.scheme)[0]
            best, self.found[text.whole.row] = spans_to_tags(found, len(words)), len(found)
            sure = np.exp(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True)).max(axis=1, initial=0.0)
            places = [(words[first][0], words[last][1], label, float(sure[first : last + 1].mean())) for first, last, label in found]
            answer = {"spans": [dict(zip(("start", "end", "label", "score"), place, strict=True)) for place in places]}
        whole = replace(text.whole, prediction={**text.whole.prediction, **answer})
        starts = [at for at in range(len(words)) if self.is_pos or (gold[at][:2] != "I-" and best[at][:2] != "I-")]  # no span goes across
        for first, end in pairwise([*starts, len(words)]):
            some = [at for at in range(first, end) if text.told[at] and gold[at] != best[at] and gold[at] in ids]
            if some:
                what, old, new = _dispute(text.forms[first:end], gold[first:end], best[first:end], is_pos=self.is_pos)
                doubt = replace(whole, what=what, start=words[first][0], end=words[end - 1][1], gold=old, answer=new)
                self.disputes.append((doubt, [(text.views[at], ids[gold[at]], logs[at].copy()) for at in some]))

    def _score(self, decisions: Sequence[Decision], counts: Views, usual: Floats) -> float:
        """Return minus the mean logarithm of what the gold tags are believed by the model and by other uses of the words."""
        tags, each = np.array([tag for _, tag, _ in decisions]), np.arange(len(decisions))

        def elsewhere(at: int, otherwise: Floats, weight: float) -> Floats:
            """Return the shares of types (D, types) of other words with this view; of few, much as they are otherwise."""
            others = np.stack([counts[views[at]] for views, _, _ in decisions])
            others[each, self.type_of[tags]] -= 1  # this use itself
            return (others + weight * otherwise) / (others.sum(1, keepdims=True) + weight)  # type: ignore[no-any-return]

        word = elsewhere(0, elsewhere(1, usual, FEW), 1.0)
        beside = elsewhere(2, usual, FEW) * elsewhere(3, usual, FEW)
        evidence = np.log(word / usual) + np.log(beside / usual**2) / 2
        both = np.stack([logs for _, _, logs in decisions]) + evidence[:, self.type_of]  # (D, K)
        return float((np.logaddexp.reduce(both, axis=1) - both[each, tags]).mean())


def _views(forms: Sequence[str]) -> list[tuple[View, ...]]:
    """Return what is known of each word: itself, its ending, the words before and behind it."""
    lower = ["", *(form.lower() for form in forms), ""]
    return [
        (("word", form), (f"ending {form[:1].isupper()}", form[-3:].lower()), ("before", lower[at]), ("behind", lower[at + 2]))
        for at, form in enumerate(forms)
    ]


def _stretches(missing: Counter[int], found: Mapping[int, int]) -> Iterator[tuple[int, int, float]]:
    """Yield first row, end and strength of runs of rows in which nearly all spans that were found have no label."""
    usual = missing.total() / max(sum(found.values()), 1)
    if not 0 < usual < LEFT_OUT:
        return
    without, with_one = log(LEFT_OUT / usual), log((1 - LEFT_OUT) / (1 - usual))  # what a span without a label and one with it speak for
    rows, at = sorted(found), 0
    while at < len(rows):
        total = best = 0.0
        last = best_at = at
        for last in range(at, len(rows)):
            left_out = missing[rows[last]]
            total += left_out * without + (found[rows[last]] - left_out) * with_one
            if total > best:
                best, best_at = total, last
            if total <= 0:
                break
        if best > STRETCH:
            yield rows[at], rows[best_at] + 1, best
        at = (best_at if best > STRETCH else last) + 1


def _dispute(forms: Sequence[str], gold: Sequence[str], best: Sequence[str], *, is_pos: bool) -> tuple[str, str, str]:
    """Return what two lists of tags for some words dispute, and what either says: its labels; where these are the same, its spans."""
    if is_pos:
        return "wrong label", ", ".join(gold), ", ".join(best)
    spans = [tags_to_spans(side, "IOB2")[0] for side in (gold, best)]
    labels = [[span.label for span in side] for side in spans]
    if set(labels[0]) == set(labels[1]):
        shown = [[" ".join(forms[one.first : one.last + 1]) for one in side] for side in spans]
        return "boundary", ", ".join(shown[0]), ", ".join(shown[1])
    what = "wrong label" if all(labels) else "spurious span" if labels[0] else "missing span"
    return what, ", ".join(labels[0]) or "nothing", ", ".join(labels[1]) or "nothing"
