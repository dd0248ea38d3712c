"""`tunny check` on a million short texts: seconds, peak memory, and how many of the planted copies it finds.

The texts are its own: sentences of 10 to 30 invented words, some common and most rare, 4 % of them exact copies of others, 6 % copies
with one word replaced, and 10 % letters of one mould, which are alike but not alike enough: the hard case. With `--kind ner`
the words with a capital are entities and the file is CoNLL.

    python benchmarks/check_million.py [--rows 1000000] [--kind classify]
"""

import argparse
import csv
import itertools
import json
import os
import random
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

MOULD = "Dear customer, your order {} of {} {} will arrive in {} on {}, thank you very much and see you soon"
DAYS = ("Monday", "Tuesday", "Friday", "Saturday")


def texts(number, seed):
    """Yield texts, each with the kind of copy and the row that it is a copy of, or two blanks."""
    draw = random.Random(seed)
    words = ["".join(draw.choices("etaoinshrdlucmfwypvbgk", k=draw.randint(2, 10))) for _ in range(30_000)]
    words = [word.title() if draw.random() < 0.2 else word for word in words]
    weights = list(itertools.accumulate(1 / (rank + 3) for rank in range(len(words))))
    written = []
    for row in range(number):
        lot = draw.random() if row else 1.0
        kind, source = "", None
        if lot < 0.1:
            source = draw.randrange(row)
            kind, copy = "exact" if lot < 0.04 else "near", written[source].split(" ")
            if kind == "near":
                copy[draw.randrange(len(copy))] = draw.choice(words)
            text = " ".join(copy)
        elif lot < 0.2:
            text = MOULD.format(draw.randint(10**5, 10**6), *draw.choices(words, k=3), draw.choice(DAYS))
        else:
            text = " ".join(draw.choices(words, cum_weights=weights, k=draw.randint(10, 30)))
        written.append(text)
        yield text, kind, source


def write(path, kind, number, seed):
    """Write the file and return the planted pairs of rows by kind."""
    planted = {"exact": [], "near": []}
    draw = random.Random(seed + 1)
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        if kind == "classify":
            rows.writerow(["text", "label"])
        for row, (text, copy, source) in enumerate(texts(number, seed)):
            if copy:
                planted[copy].append((source, row))
            if kind == "classify":
                rows.writerow([text, draw.choice("abc")])
            else:
                file.write("".join(f"{word}\t{'B-NAME' if word.istitle() else 'O'}\n" for word in text.split(" ")) + "\n")
    return planted


def main():
    """Write, read, check, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=["classify", "ner"], default="classify")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TUNNY_CACHE"] = f"{folder}/cache"
        path = Path(folder) / ("texts.csv" if options.kind == "classify" else "texts.conll")
        child = os.fork()  # what writing takes is not measured
        if not child:
            planted = write(path, options.kind, options.rows, options.seed)
            path.with_suffix(".json").write_text(json.dumps(planted))
            os._exit(0)
        os.waitpid(child, 0)
        measure(path, options.kind, json.loads(path.with_suffix(".json").read_text()))


def measure(path, kind, planted):
    """Check the file and print seconds, memory and recall."""
    from tunny.data.check import check
    from tunny.data.prepare import read_splits
    from tunny.data.rows import Rows
    from tunny.data.settings import DataSettings
    from tunny.data.similar import THRESHOLD, jaccard, similar_groups

    begin = time.perf_counter()
    splits = read_splits({"train": [str(path)]}, {"train": DataSettings()}, kind).splits
    read = time.perf_counter()
    findings = check(splits, kind)
    done = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{findings['splits']['train']['examples']:,} texts: read in {read - begin:.1f} s, checked in {done - read:.1f} s, {peak:.2f} GiB at most"
    )
    rows = Rows(splits)
    group = similar_groups(rows)
    for name, pairs in planted.items():
        left, right = np.array(pairs).T
        likeness = jaccard(rows, left, right)
        for low, high in ((THRESHOLD, 0.85), (0.85, 0.9), (0.9, 1.01)) if name == "near" else ((0.99, 1.01),):
            some = (likeness >= low) & (likeness < high)
            found = (group[left] == group[right])[some]
            print(
                f"{name} copies of similarity {low:.2f} to {min(high, 1.0):.2f}: {found.sum():,} of {len(found):,} found ({found.mean():.3%})"
            )


if __name__ == "__main__":
    main()
