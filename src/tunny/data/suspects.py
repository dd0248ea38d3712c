"""What may be wrong with labelled data, with places to look at: copies, contradictions, leaks, odd and missing labels, encodings.

Suspects come as `check` gives them, the most suspicious first. `surplus` says which rows a repair would leave out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunny.data.prepare import Split
from tunny.data.rows import Ints, Rows
from tunny.data.survey import PLACES, TROUBLES, Place, Survey, excerpt, unlabelled, whole
from tunny.data.words import find_words

LISTED, MEMBERS = 50, 6  # suspects of a kind; places of a group of rows
USUAL = 0.8  # share of a surface form's mentions that makes its other labels suspicious
OFTEN, LONG = 3, 3  # mentions and characters of a surface form that is looked for where it has no label

Findings = dict[str, Any]
Forms = dict[str, dict[str, list[int]]]  # surface form -> label -> how often, first row, start there
_DESCRIBED = ("text", "text_b", "spans", "labels", "score", "file", "line", "place")
ROW = -1  # in place of a character: the whole row is meant
Suspect = tuple[str, Mapping[str, int], Sequence[Place]]  # what it is, counts by split or label, some places


def _suspects(rows: Rows, found: Sequence[Suspect], number: int, concerned: int) -> Findings:
    shown = [{"what": excerpt(what), "counts": dict(counts), "places": _described(rows, places)} for what, counts, places in found[:LISTED]]
    return {"number": number, "rows": concerned, "listed": shown}


def _described(rows: Rows, places: Sequence[Place]) -> list[Findings]:
    """Return split, place in the file, excerpt and label of each place: of a row what is labelled otherwise than in the others."""
    taken = list(rows.take(np.array([row for row, _ in places], np.int64), *_DESCRIBED))
    labels = [_labels(row, start) for (_, start), row in zip(places, taken, strict=True)]
    common = set(labels[0]).intersection(*labels) if labels and any(set(some) != set(labels[0]) for some in labels) else set()
    return [
        {
            **rows.place(number, row["file"], row["line"], row["place"]),
            "text": excerpt(whole(row["text"], row["text_b"]), start),
            "label": excerpt(", ".join(label for label in some if label not in common) or ("nothing else" if common else "nothing")),
        }
        for (number, start), row, some in zip(places, taken, labels, strict=True)
    ]


def _labels(row: Mapping[str, Any], start: int) -> list[str]:
    """Return the labels of the spans that start at a place of a row, or all that the row is labelled as."""
    if start != ROW:
        return [span["label"] for span in row["spans"] or () if span["start"] == start]
    if row["spans"] is not None:
        return [f"{row['text'][span['start'] : span['end']]} {span['label']}" for span in row["spans"]]
    return sorted(row["labels"] or ()) if row["score"] is None else [f"{row['score']:g}"]


def copies(rows: Rows, group: Ints, values: Ints) -> Findings:
    """Return the groups of rows that hold more than one value: those in several splits first, then the largest."""
    chosen = _several(group, values)
    names, sizes = np.unique(group[chosen], return_counts=True)
    across, found = _several(group, rows.split)[names], []
    for name in names[np.lexsort((names, -sizes, ~across))[:LISTED]]:
        members = np.flatnonzero(group == name)
        different = members[np.sort(np.unique(np.stack([rows.split[members], values[members]]), axis=1, return_index=True)[1])]
        parts = np.split(different, np.flatnonzero(np.diff(rows.split[different])) + 1)
        places = [(row, ROW) for part in parts for row in part[: max(2, MEMBERS // len(parts))].tolist()]
        found.append(("", Counter(rows.names[split] for split in rows.split[members]), places))
    return _suspects(rows, found, len(names), int(chosen.sum()))


def answers(rows: Rows) -> Ints:
    """Return a number for what each row (N,) is labelled as; 0 where its text stands nowhere else."""
    found = np.zeros(len(rows), np.int64)
    some = np.flatnonzero(_several(rows.first, np.arange(len(rows))))
    for part in np.array_split(some, len(some) // 65_536 + 1):
        taken = rows.take(part, "spans", "labels", "score")
        found[part] = [hash((repr(row["spans"]), tuple(sorted(row["labels"] or ())), row["score"])) for row in taken]
    return found


def _several(group: Ints, values: Ints) -> NDArray[np.bool_]:
    """Say of each row (N,) whether its group, which is named by a row, holds more than one value."""
    low, high = values.copy(), values.copy()
    np.minimum.at(low, group, values)
    np.maximum.at(high, group, values)
    return np.asarray(low[group] != high[group])


def surplus(splits: Mapping[str, Split]) -> dict[str, dict[int, str]]:
    """Return the rows of each split that a repair leaves out, with the reason: copies, and all whose texts stand with other labels too.

    Of copies the one in test data stays, else that in validation data; within a split the first.
    """
    rows = Rows(splits)
    labels, ranks = answers(rows), np.array([_rank(name) for name in rows.names])[rows.split]
    order = np.lexsort((ranks, labels, rows.first))  # stable: rows of one rank keep their order
    again = order[1:][(np.diff(rows.first[order]) == 0) & (np.diff(labels[order]) == 0)]
    found: dict[str, dict[int, str]] = {name: {} for name in rows.names}
    for some, how in ((again, ""), (np.flatnonzero(_several(rows.first, labels)), " with other labels")):
        for row, split in zip(some.tolist(), rows.split[some].tolist(), strict=True):
            found[rows.names[split]][row - int(rows.bounds[split])] = f"the same text stands elsewhere{how}"
    return found


def _rank(split: str) -> int:
    return 0 if split == "test" else 1 if split.startswith("validation") else 2


def shared_texts(rows: Rows, group: Ints) -> Iterator[Findings]:
    """Yield for each two of training, validation and test how many texts of the later stand in the earlier."""
    for (home, one), (number, other) in combinations(enumerate(rows.names), 2):
        if _rank(one) != _rank(other):
            here, there = rows.split == number, rows.split == home
            exact = np.isin(rows.first[here], rows.first[there])
            near = np.isin(group[here], group[there]) & ~exact
            yield {"of": other, "in": one, "rows": int(here.sum()), "exact": int(exact.sum()), "near": int(near.sum())}


def shared_documents(rows: Rows, seen: Mapping[str, Survey]) -> Findings:
    """Return the documents that stand in more than one of training, validation and test."""
    homes: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for name, part in seen.items():
        for document, number in part.documents.items():
            homes[document][name] = number
    found = [(document, counts, ()) for document, counts in sorted(homes.items()) if len(set(map(_rank, counts))) > 1]
    return _suspects(rows, found, len(found), sum(sum(counts.values()) for _, counts, _ in found))


def shared_forms(seen: Mapping[str, Survey]) -> Iterator[Findings]:
    """Yield for validation and test how many of the surface forms, and of their mentions, are labelled in training too."""
    known = {form for form, _ in seen["train"].forms} if "train" in seen else set()
    for name, part in seen.items():
        if known and part.forms and name != "train":
            mentions = [(number, form in known) for (form, _), (number, *_) in part.forms.items()]
            forms = {form for form, _ in part.forms}
            found = {"mentions": sum(number for number, _ in mentions), "known_mentions": sum(number for number, old in mentions if old)}
            yield {"of": name, "forms": len(forms), "known_forms": len(forms & known), **found}


def merged(seen: Iterable[Survey]) -> Forms:
    """Return the surface forms of all splits."""
    found: Forms = {}
    for part in seen:
        for (form, label), (number, row, start) in part.forms.items():
            found.setdefault(form, {}).setdefault(label, [0, row, start])[0] += number
    return found


def odd_labels(rows: Rows, forms: Forms) -> Findings:
    """Return surface forms that nearly always have one label and sometimes another, the most lopsided first."""
    odd: list[tuple[float, str, int]] = []
    for form, labels in forms.items():
        numbers = [number for number, *_ in labels.values()]
        if len(labels) > 1 and max(numbers) >= USUAL * sum(numbers):
            odd.append((-max(numbers) / (sum(numbers) + 2), form, sum(numbers) - max(numbers)))
    found: list[Suspect] = []
    for _, form, _ in sorted(odd)[:LISTED]:
        ranked = sorted(forms[form].items(), key=lambda item: (-item[1][0], item[0]))
        places = [(row, start) for _, (_, row, start) in ranked[1 : 1 + PLACES]]
        found.append((form, {label: number for label, (number, *_) in ranked}, places))
    return _suspects(rows, found, len(odd), sum(number for *_, number in odd))


def missing_labels(rows: Rows, splits: Mapping[str, Split], forms: Forms) -> Findings:
    """Return surface forms that stand with a label more often than without, those that nearly always have one first."""
    often = {form: sum(number for number, *_ in labels.values()) for form, labels in forms.items() if len(form) >= LONG}
    wanted: defaultdict[str, list[str]] = defaultdict(list)
    for form in sorted((form for form, number in often.items() if number >= OFTEN), key=len, reverse=True):
        begin, end = next(iter(find_words(form)), (0, 0))
        for first_word in {form[begin:end], form.split()[0]}:  # as words are found, and as they stand between spaces
            wanted[first_word].append(form)
    places: defaultdict[str, list[Place]] = defaultdict(list)
    times: Counter[str] = Counter()
    for split, first in zip(splits.values(), rows.bounds, strict=False):
        for form, place in unlabelled(split, wanted, int(first)) if wanted else ():
            times[form] += 1
            places[form] += [place][: PLACES - len(places[form])]
    missing = sorted((-often[form] / (often[form] + number), form) for form, number in times.items() if number < often[form])
    found: list[Suspect] = []
    for _, form in missing[:LISTED]:
        label = max(forms[form], key=lambda label: forms[form][label][0])
        found.append((form, {label: often[form], "no label": times[form]}, places[form]))
    return _suspects(rows, found, len(missing), sum(times[form] for _, form in missing))


def troubles(rows: Rows, seen: Mapping[str, Survey]) -> Findings:
    """Return the signs of wrong encodings, with the number of texts in each split."""
    found: list[Suspect] = []
    for name in TROUBLES:
        parts = {split: part.troubles[name] for split, part in seen.items() if name in part.troubles}
        if parts:
            counts = {split: number for split, (number, _) in parts.items()}
            found.append((name, counts, [place for _, places in parts.values() for place in places]))
    return _suspects(rows, found, len(found), sum(sum(counts.values()) for _, counts, _ in found))
