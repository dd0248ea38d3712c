"""Two processes of one thread each beside one process of two: examples a second of the same training, runs interleaved.

    python benchmarks/ranks.py --train train.conll --task ner [--steps 60] [--rounds 3] [--batch 32]

Of each run the first log point is left out, where memory is first touched. Prints every run, the medians and their ratio as JSON.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

WAYS = {"one process of two threads": (1, 2), "two processes of one thread": (2, 1)}


def examples_per_second(folder, arguments, processes, threads):
    """Train once and return the median of what the log points say of speed."""
    settings = {
        "data.train": arguments.train, "output_dir": str(folder), "train.max_steps": str(arguments.steps), "train.log_every_steps": "5",
        "train.batch_size": str(arguments.batch), "engine.micro_batch_limit": str(arguments.batch // processes),
    }  # fmt: skip
    flags = [part for name, value in settings.items() for part in (f"--{name}", value)]
    launched = ["launch", "-n", str(processes)] if processes > 1 else []
    command = [sys.executable, "-m", "tunny", *launched, "train", "--task", arguments.task, *flags]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    points = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return statistics.median(point["throughput/examples_per_second"] for point in points[1:])


def main():
    """Run all ways in turn, round after round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", required=True)
    parser.add_argument("--task", default="ner")
    for name, default in (("steps", 60), ("rounds", 3), ("batch", 32)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    found = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as place:
        for number in range(arguments.rounds):
            for way, (processes, threads) in WAYS.items():
                found[way].append(examples_per_second(Path(place) / f"{number}-{processes}", arguments, processes, threads))
                print(way, round(found[way][-1], 2), flush=True)
    one, two = (statistics.median(speeds) for speeds in found.values())
    print(json.dumps({"examples_per_second": found, "ratio": two / one}))


if __name__ == "__main__":
    main()
