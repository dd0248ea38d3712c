"""How fast each format is read on one core, and in how much memory: examples a second, and the peak beyond that of the program.

Each file is made twice, ten times as large the second time: memory that stays the same shows that files of any size can be read. The
sentences are its own, of 20 words with two entities. Real files are measured beside them where a folder of them is given.

    python benchmarks/read_formats.py [--sentences 100000] [--data ../shared/data] [--only conll jsonl]
"""

import argparse
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = ["".join(random.Random(number).choices("etaoinshrdlu", k=2 + number % 9)) for number in range(5_000)]
TAGS = ["O"] * 5 + ["B-PER", "I-PER"] + ["O"] * 6 + ["B-LOC"] + ["O"] * 6
IDS = {"O": 0, "B-PER": 1, "I-PER": 2, "B-LOC": 3}


def sentences(number):
    draw = random.Random(7)
    for _ in range(number):
        yield draw.choices(WORDS, k=len(TAGS))


def spans(words):
    ends = [0]
    for word in words:
        ends.append(ends[-1] + len(word) + 1)
    return [{"start": ends[5], "end": ends[7] - 1, "label": "PER"}, {"start": ends[13], "end": ends[14] - 1, "label": "LOC"}]


def task(words):
    results = [
        {"from_name": "label", "to_name": "text", "type": "labels", "value": {**span, "labels": [span["label"]]}} for span in spans(words)
    ]
    return {"data": {"text": " ".join(words)}, "annotations": [{"id": 1, "result": results}]}


def line(record):
    return json.dumps(record) + "\n"


def word_lines(words):
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(words, TAGS, strict=True)) + "\n"


def universal_lines(words):
    return "".join(f"{number}\t{word}\t_\tNOUN\t_\t_\t_\t_\t_\t_\n" for number, word in enumerate(words, 1)) + "\n"


def kaggle_lines(words):
    return "".join(
        f"{'Sentence: 1' + word if not at else ''},{word},NN,{tag}\n" for at, (word, tag) in enumerate(zip(words, TAGS, strict=True))
    )


FORMATS = {  # name: ending, kind, settings, head, what one sentence is, tail
    "conll": (".conll", "ner", {}, "", word_lines, ""),
    "conll.gz": (".conll.gz", "ner", {}, "", word_lines, ""),
    "conllu": (".conllu", "pos", {}, "", universal_lines, ""),
    "jsonl of tags": (".jsonl", "ner", {}, "", lambda words: line({"tokens": words, "ner_tags": TAGS}), ""),
    "jsonl of integers": (".jsonl", "ner", {"labels": IDS}, "", lambda words: line({"tokens": words, "ner_tags": [IDS[tag] for tag in TAGS]}), ""),
    "spans": (".jsonl", "ner", {}, "", lambda words: line({"text": " ".join(words), "spans": spans(words)}), ""),
    "jsonl of classes": (".jsonl", "classify", {}, "", lambda words: line({"text": " ".join(words), "label": words[0][0]}), ""),
    "json": (".json", "ner", {}, "[{}", lambda words: "," + line({"text": " ".join(words), "spans": spans(words)}), "]"),
    "label-studio": (".json", "ner", {}, "[" + json.dumps(task(TAGS)), lambda words: "," + line(task(words)), "]"),
    "csv": (".csv", "classify", {}, "text,label\n", lambda words: f'"{" ".join(words)}",{words[0][0]}\n', ""),
    "csv of words": (".csv", "ner", {}, "Sentence #,Word,POS,Tag\n", kaggle_lines, ""),
    "tsv": (".tsv", "classify", {}, "text\tlabel\n", lambda words: f"{' '.join(words)}\t{words[0][0]}\n", ""),
    "tsv of words": (".tsv", "ner", {}, "Sentence\tSlot\n", lambda words: f"{' '.join(words)}\t{' '.join(TAGS)}\n", ""),
    "glue": (".tsv", "classify", {"format": "glue:SST-2"}, "sentence\tlabel\n", lambda words: f"{' '.join(words)}\t{len(words[0]) % 2}\n", ""),
    "parquet": (".parquet", "ner", {}, "", None, ""),
    "hub": ("", "ner", {}, "", None, ""),
}  # fmt: skip
NAMES = [*(f"{prefix}-{name}" for name in ("PER", "ORG", "LOC", "MISC") for prefix in "BI")]
REAL = {
    "wnut17/wnut17train.conll": ("ner", {}),
    "ncbi-disease/train.tsv": ("ner", {}),
    "germeval14/train.tsv": ("ner", {}),
    "ud-en-ewt/en_ewt-ud-train.conllu": ("pos", {}),
    "wikineural/val_en.jsonl": ("ner", {"labels": ["O", *NAMES]}),
    "glue/SST-2/train.tsv": ("classify", {}),
    "glue/RTE/train.tsv": ("classify", {"format": "glue:RTE"}),
    "goemotions/train.tsv": ("multilabel", {"header": False, "text": 0, "label": 1}),
    "corona/Corona_NLP_train.csv": ("classify", {"text": "OriginalTweet", "label": "Sentiment"}),
    "label-studio/server-exports/export_JSON.json": ("ner", {"overlaps": "first", "control": "label"}),
}


def make(name, path, number):
    ending, _, _, head, row, tail = FORMATS[name]
    if row is None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        parts = (pa.table({"tokens": [words], "tags": [TAGS]}) for words in sentences(number))
        if name == "hub":
            from datasets import Dataset, disable_progress_bars

            disable_progress_bars()
            Dataset.from_generator(lambda: ({"tokens": words, "tags": TAGS} for words in sentences(number))).save_to_disk(path)
            return
        whole = pa.concat_tables(parts).combine_chunks()
        pq.write_table(whole, path, row_group_size=10_000)
        return
    with gzip.open(path, "wt", compresslevel=1) if ending.endswith(".gz") else path.open("w", encoding="utf-8") as file:
        file.write(head.replace("[{}", '[{"text": "", "spans": []}'))
        file.writelines(map(row, sentences(number)))
        file.write(tail)


def peak_mebibytes():
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))[1]) / 1024


def measure(path, kind, chosen):
    """Read one file and print how many examples, in how many seconds, with how much more memory than before."""
    from tunny.data.audit import Audit
    from tunny.data.labels import given_names
    from tunny.data.read import read
    from tunny.data.settings import DataSettings

    settings = DataSettings(**chosen)
    if Path(path).is_dir():
        import datasets  # noqa: F401
    before = peak_mebibytes()
    start = time.perf_counter()
    number = sum(1 for _ in read([path], settings, kind, Audit(), names=given_names(settings)))
    print(json.dumps([number, time.perf_counter() - start, peak_mebibytes() - before]))


def measured(path, kind, settings):
    command = [sys.executable, __file__, "--measure", str(path), kind, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{path}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", default=list(FORMATS), choices=list(FORMATS))
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        path, kind, settings = chosen.measure
        measure(path, kind, json.loads(settings))
        return
    print(f"| format | examples/s | MiB at {chosen.sentences // 10:,} | MiB at {chosen.sentences:,} |\n|---|---|---|---|")
    for name in chosen.only:
        ending, kind, settings, *_ = FORMATS[name]
        with tempfile.TemporaryDirectory() as folder:
            found = []
            for number in (chosen.sentences // 10, chosen.sentences):
                path = Path(folder) / f"{number}{ending}"
                make(name, path, number)
                found.append(measured(path, kind, settings))
        number, seconds, memory = found[1]
        print(f"| {name} | {number / seconds:,.0f} | {found[0][2]:,.0f} | {memory:,.0f} |", flush=True)
    if chosen.data:
        print("\n| file | examples | examples/s | MiB |\n|---|---|---|---|")
        for file, (kind, settings) in REAL.items():
            if (chosen.data / file).exists():
                number, seconds, memory = measured(chosen.data / file, kind, settings)
                print(f"| {file} | {number:,} | {number / seconds:,.0f} | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
