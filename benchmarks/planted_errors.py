"""Errors planted in gold labels: how many are among the first that `tunny check --folds` lists, beside cleanlab on the same answers.

Ten each of four kinds: wrong type, entity removed, spurious entity, boundary moved by a word. A listed doubt hits an error when it is of the
same row and overlaps it; of cleanlab's ranking, which is of rows, the row is enough. Needs `pip install cleanlab` for the comparison.

    python benchmarks/planted_errors.py --train train.tsv --rows 6000 [--folds 3] [--epochs 5] [--seed 2014]
"""

import argparse
import json
import random
import tempfile
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from tunny import review
from tunny.config import load_config, split_settings
from tunny.data.audit import Audit
from tunny.data.example import Span
from tunny.data.find import split_files
from tunny.data.prepare import read_splits
from tunny.data.read import read
from tunny.data.settings import DataSettings
from tunny.data.tags import tag_words
from tunny.data.words import words_of
from tunny.evaluation.doubts import rank

EACH, LISTED = 10, 120
KINDS = ("wrong type", "removed", "spurious", "boundary")


def planted(examples, seed):
    """Return the examples with errors, and row -> (kind, first character, end) of each error."""
    draw, examples, errors = random.Random(seed), list(examples), {}
    types = sorted({span.label for example in examples for span in example.spans})
    rows = draw.sample(range(len(examples)), len(examples))
    for kind in KINDS:
        while sum(one[0] == kind for one in errors.values()) < EACH:
            row = rows.pop()
            example, words = examples[row], words_of(examples[row])
            spans = list(example.spans)
            taken = [any(span.start < end and start < span.end for span in spans) for start, end in words]
            if kind == "spurious":
                free = [word for word, is_in in zip(words, taken, strict=True) if not is_in and example.text[slice(*word)].isalpha()]
                if not free:
                    continue
                new = Span(*draw.choice(free), draw.choice(types))
                spans, place = [*spans, new], new[:2]
            elif not spans:
                continue
            else:
                old = spans.pop(draw.randrange(len(spans)))
                place = old[:2]
                if kind == "wrong type":
                    spans.append(old._replace(label=draw.choice([one for one in types if one != old.label])))
                elif kind == "boundary":
                    first, last = (next(at for at, word in enumerate(words) if word[side] == old[side]) for side in (0, 1))
                    moves = [(first + 1, last), (first, last - 1)] if first < last else []
                    moves += [(first - 1, last)] if first and not taken[first - 1] else []
                    moves += [(first, last + 1)] if last + 1 < len(words) and not taken[last + 1] else []
                    if not moves:
                        continue
                    low, high = draw.choice(moves)
                    new = Span(words[low][0], words[high][1], old.label)
                    spans, place = [*spans, new], (min(new.start, old.start), max(new.end, old.end))
            examples[row], errors[row] = replace(example, spans=tuple(sorted(spans))), (kind, *place)
    return examples, errors


def by_cleanlab(answered, labels, errors):
    """Return how many errors are in the first rows of cleanlab's ranking, or None without cleanlab."""
    try:
        from cleanlab.token_classification.rank import get_label_quality_scores
    except ImportError:
        return None
    known = [(row, example, np.exp(answer.logs.astype(float))) for row, example, answer in answered if len(answer.logs)]
    gold = [[labels.ids[tag] for tag in tag_words(example.spans, words_of(example))] for _, example, _ in known]
    scores, _ = get_label_quality_scores(gold, [one / one.sum(1, keepdims=True) for *_, one in known])
    return sum(known[at][0] in errors for at in np.argsort(scores, kind="stable")[:LISTED])


def main():
    """Plant, train the folds, rank, and print a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True)
    for name, value in (("rows", 6000), ("folds", 3), ("epochs", 5), ("seed", 2014)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    examples, errors = planted(islice(read([options.train], DataSettings(), "ner", Audit()), options.rows), options.seed)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "planted.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for example in examples:
                out.write(json.dumps({"id": example.id, "text": example.text, "words": example.words, "spans": example.spans}) + "\n")
        train = {"epochs": options.epochs, "learning_rate": 5e-4, "batch_size": 16}
        config = load_config(None, (), {"task": "ner", "data": {"train": str(file)}, "train": train})
        dataset = read_splits(split_files(config.settings.data), split_settings(config.settings), "ner", seed=config.settings.seed)
        answered = sorted(review.fold_answers(config, dataset, options.folds), key=lambda one: one[0])
    found = {}
    for doubt in rank(answered, dataset.labels)[:LISTED]:
        kind, start, end = errors.get(doubt.row, ("", 0, 0))
        if doubt.start < end and start < doubt.end:
            found[doubt.row] = kind
    beside = by_cleanlab(answered, dataset.labels, errors)
    print(json.dumps({"planted": len(errors), "found": len(found), "by_kind": Counter(found.values()), "cleanlab": beside}))


if __name__ == "__main__":
    main()
