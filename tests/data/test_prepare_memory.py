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
