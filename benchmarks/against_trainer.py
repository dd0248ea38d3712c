"""Tunny beside transformers' Trainer: the same data, epochs, batch, learning rate, precision and seeds, run in turn.

Speeds are whole trainings by the clock, validation and checkpoints included. Prints a line a run, then means, the standard
error of their difference, and the ratio of median speeds. Without `--train` the sample of harbour news is used, as CoNLL.
WNUT-17, as in docs/results.md:

    python benchmarks/against_trainer.py --train wnut17train.conll --validation emerging.dev.conll
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SAMPLES = HERE.parent / "src" / "tunny" / "samples" / "harbour"


def run_tunny(options, seed, folder):
    """Train once with Tunny and return score and speed."""
    output = folder / f"tunny-{seed}"
    flags = {
        "task": "ner", "output_dir": output, "seed": seed, "data.train": options.train, "data.validation": options.validation,
        "train.epochs": options.epochs, "train.batch_size": options.batch_size, "train.learning_rate": options.learning_rate,
        "engine.precision": options.precision, "train.log_every_steps": 100000,
    }  # fmt: skip
    command = [sys.executable, "-m", "tunny", "train", *(f"--{key}={value}" for key, value in flags.items())]
    subprocess.run(command, check=True, capture_output=True)
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    scores = [line["validation/f1"] for line in lines if "validation/f1" in line]
    rows = json.loads((output / "audit.json").read_text())["splits"]["train"]["counts"]["examples"]
    rate = rows * options.epochs / lines[-1]["time"]
    return {"f1": max(scores), "last_f1": scores[-1], "examples_per_second": rate, "seconds": lines[-1]["time"]}


def run_trainer(options, seed, _folder):
    """Train once with Trainer and return score and speed."""
    names = ("train", "validation", "epochs", "batch_size", "learning_rate", "precision")
    flags = [f"--{name}={getattr(options, name)}" for name in names]
    command = [sys.executable, str(HERE / "trainer_ner.py"), f"--seed={seed}", *flags]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def as_conll(folder):
    """Write the sample as CoNLL, sentence by sentence, for the side that needs words."""
    from tunny.data.audit import Audit
    from tunny.data.read import read
    from tunny.data.settings import DataSettings
    from tunny.data.tags import tag_words
    from tunny.data.words import find_words

    for name in ("train", "validation"):
        with (folder / f"{name}.conll").open("w", encoding="utf-8") as file:
            for example in read([str(SAMPLES / f"{name}.json")], DataSettings(), "ner", Audit()):
                words = find_words(example.text)
                for (start, end), tag in zip(words, tag_words(example.spans, words), strict=True):
                    word = example.text[start:end]
                    file.write(f"{word}\t{tag}\n" + ("\n" if word in ".!?" and tag == "O" else ""))
                file.write("\n")
    return str(folder / "train.conll"), str(folder / "validation.conll")


def main():
    """Run both sides in turn and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train")
    parser.add_argument("--validation")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="bf16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if options.train is None:
            options.train, options.validation = as_conll(Path(name))
        results = {"tunny": [], "trainer": []}
        for seed in options.seeds:
            for side, run in (("tunny", run_tunny), ("trainer", run_trainer)):
                results[side].append(run(options, seed, Path(name)))
                print(f"seed {seed} {side:8}", json.dumps(results[side][-1]), flush=True)
    scores = {side: [run["f1"] for run in runs] for side, runs in results.items()}
    for side, values in scores.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{side:8} f1 mean {statistics.mean(values):.4f} sd {spread:.4f}")
    if len(options.seeds) > 1:
        error = sum(statistics.variance(values) / len(values) for values in scores.values()) ** 0.5
        difference = statistics.mean(scores["tunny"]) - statistics.mean(scores["trainer"])
        print(f"difference {difference:+.4f}, standard error {error:.4f}")
    rates = {side: statistics.median(run["examples_per_second"] for run in runs) for side, runs in results.items()}
    print(
        f"examples/s: tunny {rates['tunny']:.1f}, trainer {rates['trainer']:.1f}, ratio of medians {rates['tunny'] / rates['trainer']:.2f}"
    )


if __name__ == "__main__":
    main()
