"""Memory of a training that reads files larger than it: a user's task over generated text, file by file.

    python benchmarks/stream.py [--gigabytes 5] [--files 20]

Prints the resident memory (MiB) of the training while it goes on, at the start and in each tenth of it, and its highest.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tunny

WORDS = [
    f"{start}{end}"
    for start in ("har", "lan", "mor", "sel", "tur", "vik")
    for end in ("bour", "tern", "ning", "kie", "bot", "ing", "a", "en")
]
BUCKETS = 4096


class Paragraphs(tunny.Task):
    """Whether a paragraph's first word stands in it again, by a bag of hashed bytes; cheap, so that reading is the work."""

    def model(self) -> nn.Module:
        return nn.Sequential(nn.EmbeddingBag(BUCKETS, 16, mode="mean"), nn.Linear(16, 2))

    def read(self, path: str) -> Iterator[bytes]:
        with open(path, "rb") as file:
            yield from file

    def rows(self, paths: Sequence[str]) -> tunny.Stream:
        return tunny.Stream(self.read, paths)

    def batch(self, rows: Sequence[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [np.frombuffer(row[2:66], np.uint16).astype(np.int64) % BUCKETS for row in rows]
        return torch.from_numpy(np.stack(pairs)), torch.tensor([row[0] == 43 for row in rows], dtype=torch.int64)

    def train_step(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

    def predict_step(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> list[int]:
        return model(batch[0]).argmax(1).tolist()

    def score(self, rows, predictions) -> dict[str, float]:
        return {}


class Memory(tunny.Callback):
    """Notes the resident memory in each tenth of the steps."""

    def __init__(self):
        self.seen = {}

    def step_end(self, now: tunny.Moment) -> None:
        tenth = now.step * 10 // now.total_steps
        if tenth not in self.seen:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.seen[tenth] = round(pages * resource.getpagesize() / 2**20)


def write(folder, size, files):
    """Write lines of about two thousand characters, which begin with + or -, until all files hold `size` bytes together."""
    draw = random.Random(1)
    lines = [("+ " if number % 2 else "- ") + " ".join(draw.choices(WORDS, k=330)) + "\n" for number in range(500)]
    for number in range(files):
        with (folder / f"{number:03}.txt").open("w") as file:
            while file.tell() < size // files:
                file.writelines(draw.sample(lines, 200))


def main():
    """Write, train for one epoch, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=5.0)
    parser.add_argument("--files", type=int, default=20)
    arguments = parser.parse_args()
    memory = Memory()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, int(arguments.gigabytes * 1e9), arguments.files)
        began = time.perf_counter()
        settings = {"epochs": 1, "batch_size": 256, "log_every_steps": 1000}
        config = {"task": Paragraphs, "output_dir": str(folder / "run"), "data": {"train": f"{folder}/*.txt"}, "train": settings}
        run = tunny.train(config, callbacks=[memory])
        rows = json.loads((run / "audit.json").read_text())["splits"]["train"]["counts"]["rows read"]
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"gigabytes": arguments.gigabytes, "rows": rows, "seconds": seconds, "by_tenth": memory.seen, "peak": peak}))


if __name__ == "__main__":
    main()
