"""From files to memory-mapped examples and windows, once: kept under a digest of everything they depend on.

The digest of examples covers the bytes of the files and the settings of reading; that of windows covers the examples, the labels,
the tokenizer and the settings of encoding. Whatever changes gives another name, so a stale cache cannot be met.
"""

import contextlib
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, compress, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tunny.core.console import progress, say
from tunny.core.errors import DataError
from tunny.core.files import TEMPORARY, digest_bytes, dump_json, new_folder, no_space, read_json, write_json
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.find import find_files
from tunny.data.labels import LabelSet, given_names, kept_names, label_set
from tunny.data.read import digest_of, read
from tunny.data.repeats import find_repeats
from tunny.data.settings import TOKEN_KINDS, UNLABELLED, DataSettings, SplitSettings
from tunny.data.split import SPLITS, deal, documents_of, report
from tunny.data.store import CHUNK, EXAMPLES, WINDOWS, ExampleStore, WindowStore, read_rows, to_rows, write_batches

VERSION = "6"  # of what reading and encoding give; raising it makes every cache anew
CHUNK_CHARACTERS = 1_000_000
ABANDONED_SECONDS = 86_400  # age at which an unfinished folder of the cache is nobody's any more


@dataclass(frozen=True)
class Split:
    """One named set of examples, read and perhaps encoded."""

    name: str  # train, validation, validation/NAME, test
    folder: Path  # of the examples in the cache
    digest: str
    audit: Audit
    label_counts: Counter[str]
    files: dict[str, str] = field(default_factory=dict)  # path -> SHA-256
    windows_folder: Path | None = None

    @property
    def names(self) -> list[str]:
        """What its files are called, in the order of their numbers: their names, or their paths where two have one name."""
        names = [Path(file).name for file in self.files]
        return names if len({*names}) == len(names) else [*self.files]

    @property
    def examples_file(self) -> Path:
        """The Arrow file of the examples."""
        return self.folder / "examples.arrow"

    @property
    def examples(self) -> ExampleStore:
        """The examples, memory-mapped."""
        return ExampleStore(self.examples_file)

    @property
    def windows(self) -> WindowStore:
        """The windows, memory-mapped."""
        assert self.windows_folder is not None
        return WindowStore(self.windows_folder / "windows.arrow")


@dataclass(frozen=True)
class Dataset:
    """All splits of a run with the labels they share."""

    splits: Mapping[str, Split]
    labels: LabelSet
    label_reason: str
    audit: Audit  # what concerns several splits: duplicates, leakage, labels missing from training
    dealt: dict[str, Any] | None = None  # the split report, where data.split took parts of the training data
    read: Audit | None = None  # of the files that were dealt out


def cache_folder() -> Path:
    """Return where encoded data is kept: $TUNNY_CACHE, or `tunny` in the user's cache folder."""
    chosen = os.environ.get("TUNNY_CACHE")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tunny"


def chunked(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """Yield lists of at most 2,048 examples and about a million characters; the same lists for the same examples."""
    chunk, characters = list[Example](), 0
    for example in examples:
        characters += (size := len(example.text) + len(example.text_b or ""))
        if chunk and (len(chunk) == CHUNK or characters > CHUNK_CHARACTERS):
            yield chunk
            chunk, characters = [], size
        chunk.append(example)
    if chunk:
        yield chunk


def cached(room: str, key: str, write: Callable[[Path], object]) -> Path:
    """Return a folder of the cache, which is written first where it is not there.

    What a killed process left beside it is removed, but not what another one writes now.
    """
    folder = cache_folder() / room / key
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise no_space(error, folder.parent) from error
    for path in folder.parent.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
                shutil.rmtree(path, ignore_errors=True)
    with new_folder(folder) as temporary:
        write(temporary)
    return folder


def read_splits(
    paths: Mapping[str, Sequence[str]], settings: Mapping[str, DataSettings], kind: str, labels: LabelSet | None = None, seed: int = 42,
    limit: int | None = None,
) -> Dataset:  # fmt: skip
    """Read every split (or find it in the cache) and settle the labels, which are those of a model where one is given.

    Where `data.split` deals the training data out, `limit` is the most examples of each part that is not trained on.
    """
    first = next(iter(settings.values()))
    given, audit, dealt, whole = given_names(first), Audit(), None, None
    splits = {name: _read_split(name, files, settings[name], kind, given) for name, files in paths.items()}
    if first.split is not None and "train" in splits:
        whole = splits["train"].audit
        parts, dealt = _deal(splits.pop("train"), first.split, kind, seed if first.split.seed is None else first.split.seed, limit)
        splits = {**parts, **splits}
    found = {name: split.label_counts for name, split in splits.items()}
    labels, reason = label_set(kind, kept_names(given, first), found) if labels is None else (labels, "the model's")
    for name in sorted(set(first.keep_labels or ()).difference(*found.values())):
        audit.event("labels to keep that the data does not have", "data.keep_labels", repr(name))
    for name, counts in found.items() if "train" in found else ():
        for label in counts:
            if label not in found["train"]:
                audit.event("labels missing from training", name, f"{label!r} ({counts[label]} times): it cannot be learnt")
    if kind in ("classify", "pos") and len(only := [*found.get("train", ())]) == 1:
        audit.event("only one label", "train", f"every label is {only[0]!r}: there is nothing to tell apart")
    find_repeats({name: split.examples_file for name, split in splits.items()}, audit)
    return Dataset(splits, labels, reason, audit, dealt, whole)


def _read_split(name: str, paths: Sequence[str], settings: DataSettings, kind: str, given: Mapping[str, int] | None) -> Split:
    files = [file for pattern in paths for file in find_files(pattern)]
    try:
        digests = {str(file): digest_of(file) for file in files}
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error
    relevant = settings.model_dump(mode="json", exclude={"train", "validation", "test", "split"})
    key = digest_bytes(
        VERSION, kind, *([name] if name == UNLABELLED else []), dump_json(relevant), dump_json(given),
        *(f"{file.name}:{digests[str(file)]}" for file in files),
    )  # fmt: skip

    def write(folder: Path) -> None:
        audit, counts = Audit(), Counter[str]()

        def counted() -> Iterator[Example]:
            found = read([str(file) for file in files], settings, kind, audit, names=given, labels_needed=name != UNLABELLED)
            for example in progress(found, f"reading {name}", unit="examples"):
                counts.update(span.label for span in example.spans or ())
                counts.update(example.labels or ())
                yield example

        _write_examples(folder, counted())
        write_json(folder / "split.json", {"audit": audit.to_json(), "labels": dict(counts.most_common()), "rejected": audit.rejected})

    folder = cached("examples", key, write)
    saved = read_json(folder / "split.json")
    audit = Audit.from_json(saved["audit"])
    audit.rejected = [tuple(row) for row in saved["rejected"]]
    return Split(name, folder, key, audit, Counter(saved["labels"]), digests)


def _write_examples(folder: Path, examples: Iterable[Example]) -> None:
    folder.mkdir(exist_ok=True)
    write_batches(folder / "examples.arrow", EXAMPLES, map(to_rows, chunked(examples)))


def _deal(whole: Split, shares: SplitSettings, kind: str, seed: int, limit: int | None) -> tuple[dict[str, Split], dict[str, Any]]:
    """Part what was read from the training files by document (or find the parts in the cache); return them and the report."""
    ratios = (float(1 - Fraction(str(shares.validation)) - Fraction(str(shares.test))), shares.validation, shares.test)
    key = digest_bytes(whole.digest, dump_json(ratios), str(seed), str(limit))

    def write(folder: Path) -> None:
        documents = documents_of(whole.examples, kind)
        dealt = deal(documents, ratios, seed)
        empty = [name for at, name in enumerate(SPLITS) if ratios[at] and not (dealt == at).any()]
        if empty:
            few = f"{len(dealt)} documents are too few: none is left for {', '.join(empty)}"
            raise DataError(f"data.split: {few}. Give files, or other shares.")
        write_json(folder / "report.json", report(documents, dealt, ratios, seed))
        places = dealt[np.array(documents.of_example, dtype=np.int64)]
        for at, name in enumerate(SPLITS):
            part = compress(whole.examples, places == at)
            _write_examples(folder / name, islice(part, None if name == "train" else limit))

    folder = cached("examples", key, write)
    found, splits = read_json(folder / "report.json"), {}
    for name, part in found["splits"].items():
        if part["examples"]:
            audit = Audit(Counter(examples=part["examples"]), notes=whole.audit.notes if name == "train" else [])
            splits[name] = Split(name, folder / name, digest_bytes(key, name), audit, Counter(part["labels"]), whole.files)
    return splits, found


def part_of(splits: Mapping[str, Split], chosen: NDArray[np.bool_], name: str) -> Split:
    """Return the chosen ones among the examples of all splits (N,) as one split (or find it in the cache)."""
    examples = compress(chain.from_iterable(split.examples for split in splits.values()), chosen)
    key = digest_bytes(*(split.digest for split in splits.values()), np.packbits(chosen).tobytes())
    folder = cached("examples", key, lambda folder: _write_examples(folder, examples))
    return Split(name, folder, key, Audit(counts=Counter(examples=int(chosen.sum()))), Counter())


def encode_splits(dataset: Dataset, encoder: Encoder) -> Dataset:
    """Encode every split (or find its windows in the cache) and return the dataset with them."""
    splits = {name: _encode_split(split, dataset.labels, encoder) for name, split in dataset.splits.items()}
    return replace(dataset, splits=splits)


def _encode_split(split: Split, labels: LabelSet, encoder: Encoder) -> Split:
    settings = dump_json(encoder.settings.model_dump(mode="json"))
    key = digest_bytes(VERSION, split.digest, labels.kind, dump_json(labels.names), encoder.digest, settings)
    made = Audit()

    def windows() -> Iterator[pa.RecordBatch]:
        row, total = 0, sum(1 for _ in read_rows(split.examples_file, "key"))
        for batch in progress(read_rows(split.examples_file), f"encoding {split.name}", total=total, unit="chunks"):
            yield encoder.encode(batch, labels, made, row).rows()
            row += batch.num_rows

    def write(folder: Path) -> None:
        write_batches(folder / "windows.arrow", WINDOWS, windows())
        made.settle()
        write_json(folder / "audit.json", made.to_json())

    if (cache_folder() / "encoded" / key).is_dir():
        say(f"{split.name}: encoded data found in the cache, nothing to tokenise")
    folder = cached("encoded", key, write)
    audit = split.audit.joined(Audit.from_json(read_json(folder / "audit.json")))
    return replace(split, audit=audit, windows_folder=folder)


def require_labels(dataset: Dataset) -> None:
    """Raise DataError where there is nothing to learn."""
    if not dataset.labels.names or (dataset.labels.kind in TOKEN_KINDS and dataset.labels.kind != "pos" and len(dataset.labels.names) == 1):
        raise DataError("no label in the data: nothing can be learnt. Check data.tags, data.label and data.format.")
