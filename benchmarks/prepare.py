"""How fast labelled examples become token ids with aligned labels in Arrow files, beside `datasets.map`, from the same examples.

All sides read a memory-mapped Arrow file and write one, in turns in one process; prints a JSON line of rows a second.
Nothing is cached: neither Tunny's windows, nor the words that its encoder remembers, nor what datasets.map did before. Rows beyond
those of the file are repeated. With `--kind ner` or `pos` it is the way of transformers' run_ner.py, tokens with
aligned labels, and the tokenizer alone, on the words and on the texts; with other kinds the tokenizer alone, on texts or pairs.

    python benchmarks/prepare.py DATA_FILE [--kind ner] [--rows 100000] [--rounds 3] [--processes 2] [--settings NAME=VALUE ...]
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import datasets

from tunny.core.files import digest_bytes
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.prepare import cache_folder, chunked, encode_splits, read_splits
from tunny.data.settings import TOKEN_KINDS, DataSettings, EncodeSettings
from tunny.data.store import EXAMPLES, ExampleStore, to_rows, write_batches
from tunny.data.tags import tag_words, word_tags
from tunny.tasks.model import load_tokenizer
from tunny.tasks.settings import ModelSettings

MAX_TOKENS = 256


def repeated(dataset, rows):
    """Return the dataset with its training examples repeated up to a number of rows, in an Arrow file of its own."""
    split = dataset.splits["train"]
    examples = list(split.examples)
    folder = split.folder.parent / digest_bytes(split.digest, str(rows))
    folder.mkdir()
    write_batches(folder / "examples.arrow", EXAMPLES, map(to_rows, chunked(islice(cycle(examples), rows))))
    return replace(dataset, splits={"train": replace(split, folder=folder, digest=folder.name, audit=Audit())})


def theirs(path, labels, folder):
    """Return the same examples as datasets keeps them: a memory-mapped Arrow file of words and tags, or of texts and labels."""

    def records():
        for example in ExampleStore(path):
            record = {"text": example.text}
            if labels.kind in TOKEN_KINDS:
                tags = word_tags(example, example.words, "pos") if labels.kind == "pos" else tag_words(example.spans, example.words)
                record |= {
                    "tokens": [example.text[start:end] for start, end in example.words],
                    "tags": [labels.ids.get(tag, 0) for tag in tags],
                }
            else:
                record |= {"label": [labels.ids[name] for name in example.labels or ()]}
                record |= {"text_b": example.text_b} if example.text_b is not None else {}
            yield record

    datasets.Dataset.from_generator(records, cache_dir=str(folder / "made")).save_to_disk(str(folder / "theirs"))
    return datasets.load_from_disk(str(folder / "theirs"))


# -- the sides: each writes an Arrow file ----------------------------------------------------------------------------------


def tunny_side(dataset, tokenizer):
    """Encode the split as `tunny prepare` does, with an encoder that remembers no word yet."""
    shutil.rmtree(cache_folder() / "encoded", ignore_errors=True)
    tunny_again(dataset, tokenizer)


def tunny_again(dataset, tokenizer):
    """Find the windows in the cache, as a second `tunny prepare` does."""
    encoder = Encoder(tokenizer.backend_tokenizer, EncodeSettings(max_tokens=MAX_TOKENS))
    assert encode_splits(dataset, encoder).splits["train"].windows


def run_ner_side(rows, tokenizer, target, processes):
    """Tokenize words and give each first sub-token its label, in the way of transformers' run_ner.py."""

    def with_labels(some):
        encoded = tokenizer(some["tokens"], truncation=True, max_length=MAX_TOKENS, is_split_into_words=True)
        encoded["labels"] = []
        for row, tags in enumerate(some["tags"]):
            before, targets = None, []
            for word in encoded.word_ids(batch_index=row):
                targets.append(-100 if word is None or word == before else tags[word])
                before = word
            encoded["labels"].append(targets)
        return encoded

    mapped(rows, with_labels, target, processes)


def words_side(rows, tokenizer, target, processes):
    """Map the tokenizer alone over the words."""
    mapped(
        rows, lambda some: tokenizer(some["tokens"], truncation=True, max_length=MAX_TOKENS, is_split_into_words=True), target, processes
    )


def texts_side(rows, tokenizer, target, processes):
    """Map the tokenizer alone over the texts, or pairs of texts."""
    columns = [name for name in ("text", "text_b") if name in rows.column_names]
    mapped(rows, lambda some: tokenizer(*(some[name] for name in columns), truncation=True, max_length=MAX_TOKENS), target, processes)


def mapped(rows, function, target, processes):
    """Run datasets.map as it is by default, but without its cache."""
    rows.map(function, batched=True, num_proc=processes, load_from_cache_file=False, cache_file_name=str(target), new_fingerprint="bench")


# -- measuring -------------------------------------------------------------------------------------------------------------


def measure(sides, rounds):
    """Return the seconds of each side in each round; sides take turns."""
    seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main():
    """Make the data, measure and print a JSON line of rows a second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--kind", default="ner")
    parser.add_argument("--rows", type=int, help="as many as the file has, if not given")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[os.cpu_count()], help="numbers of processes of datasets.map, beside its default"
    )
    parser.add_argument("--settings", nargs="*", default=[], help="of data, as NAME=JSON")
    chosen = parser.parse_args()
    datasets.disable_progress_bars()
    datasets.disable_caching()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TUNNY_CACHE"] = str(folder / "cache")
        settings = DataSettings(**{key: json.loads(value) for key, value in (pair.split("=", 1) for pair in chosen.settings)})
        dataset = read_splits({"train": [chosen.file]}, {"train": settings}, chosen.kind)
        dataset = repeated(dataset, chosen.rows or len(dataset.splits["train"].examples))
        path = dataset.splits["train"].folder / "examples.arrow"
        rows = theirs(path, dataset.labels, folder)
        tokenizer = load_tokenizer(ModelSettings()).tokenizer
        peers = {"datasets.map(tokenizer), texts": texts_side}
        if chosen.kind in TOKEN_KINDS:
            peers = {"run_ner.py": run_ner_side, "datasets.map(tokenizer), words": words_side, **peers}
        sides = {"tunny": lambda: tunny_side(dataset, tokenizer), "tunny, second run": lambda: tunny_again(dataset, tokenizer)}
        for processes in (None, *chosen.processes):
            for title, side in peers.items():
                named = title if processes is None else f"{title}, num_proc={processes}"
                sides[named] = lambda side=side, processes=processes: side(rows, tokenizer, folder / "mapped.arrow", processes)
        seconds = measure(sides, chosen.rounds)
        print(json.dumps({name: [len(rows) / one for one in found] for name, found in seconds.items()}))


if __name__ == "__main__":
    main()
