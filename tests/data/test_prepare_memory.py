import json
import os
import random
import subprocess
import sys

import pytest

from tests.tiny import SENTENCES, make_tokenizer

SENTENCES_WRITTEN = 1_000_000
PREPARE = """
import json, resource, sys
from tokenizers import Tokenizer
from tunny.data.encode import Encoder
from tunny.data.prepare import encode_splits, read_splits
from tunny.data.settings import DataSettings, EncodeSettings

dataset = read_splits({"train": [sys.argv[1]]}, {"train": DataSettings()}, "ner")
encoder = Encoder(Tokenizer.from_file(sys.argv[2]), EncodeSettings())
windows = encode_splits(dataset, encoder).splits["train"].windows
print(json.dumps({"windows": len(windows), "peak_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}))
"""


@pytest.mark.slow
def test_a_million_short_sentences_are_encoded_under_one_and_a_half_gigabytes(tmp_path):
    words = sorted({word for sentence in SENTENCES for word in sentence.split()})
    draw = random.Random(5)
    with (tmp_path / "million.conll").open("w", encoding="utf-8") as file:
        for _ in range(SENTENCES_WRITTEN):
            sentence = draw.choices(words, k=draw.randint(5, 20))
            file.write("".join(f"{word}\t{'B-PER' if word[0] == 'M' else 'O'}\n" for word in sentence) + "\n")
    make_tokenizer("wordpiece-uncased").backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    command = [sys.executable, "-c", PREPARE, "million.conll", "tokenizer.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=dict(os.environ))
    measured = json.loads(done.stdout)
    assert measured["windows"] == SENTENCES_WRITTEN
    assert measured["peak_kib"] * 1024 < 1.5e9


ENCODE = """
import sys, threading, time
from collections import Counter
from pathlib import Path
from tokenizers import Tokenizer
from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.data.prepare import Dataset, Split, chunked, encode_splits
from tunny.data.settings import EncodeSettings
from tunny.data.store import EXAMPLES, to_rows, write_batches

def examples():  # two words of three are new
    for row in range(int(sys.argv[1])):
        words = [f"word{row}{at}" if at % 3 else f"word{row % 100}{at}" for at in range(18)]
        ends = [sum(map(len, words[: at + 1])) + at for at in range(18)]
        ranges = tuple((end - len(word), end) for word, end in zip(words, ends))
        yield Example(str(row), " ".join(words), spans=(Span(*ranges[3], "PER"),), words=ranges)

def anonymous():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1])

def watch():
    while not done.wait(0.005):
        seen.append(anonymous())

write_batches(Path("examples.arrow"), EXAMPLES, map(to_rows, chunked(examples())))
dataset = Dataset({"train": Split("train", Path(), sys.argv[1], Audit(), Counter())}, LabelSet("ner", ("O", "B-PER", "I-PER")), "", Audit())
encoder = Encoder(Tokenizer.from_file("tokenizer.json"), EncodeSettings())
seen, done = [], threading.Event()
watcher = threading.Thread(target=watch)
watcher.start()
assert len(encode_splits(dataset, encoder).splits["train"].windows) == int(sys.argv[1])
done.set()
watcher.join()
print(max(seen))
"""


@pytest.mark.slow
def test_ten_times_the_examples_are_encoded_in_the_same_memory(tmp_path):
    make_tokenizer("wordpiece-uncased").backend_tokenizer.save(str(tmp_path / "tokenizer.json"))
    peaks = []
    for rows in ("30000", "300000"):
        command = [sys.executable, "-c", ENCODE, rows]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=dict(os.environ))
        peaks.append(int(done.stdout) / 1024)
    assert peaks[1] < peaks[0] + 20, f"MiB: {peaks}"
