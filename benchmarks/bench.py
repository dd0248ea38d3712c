"""Tunny beside its peers: interleaved runs, medians and ratios by the clock, scores, memory, and the work done against the ceiling.

    python benchmarks/bench.py                              # all parts on the sample data, then docs/benchmarks.md
    python benchmarks/bench.py --parts training scores --train wnut17train.conll --test emerging.dev.conll

Each run is a fresh process; sides take turns within a round. The bf16 (or, where that is faster, fp32) matrix ceiling of the machine
is measured before and after each run: one whose ceiling moves by more than 10 % is void and repeated, at most twice; one that
stays void is marked. Useful work is 6 FLOPs a real token and parameter outside the embeddings. Parts write
benchmarks/results/PART.json; `render.py` makes the page and its plots of whatever is there.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from peers import FAST_BF16

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SAMPLES = HERE.parent / "src" / "tunny" / "samples" / "harbour"
QUIET = 0.10  # how far the ceiling may move
TRIES = 3
MINILM = 10.6e6  # parameters outside the embeddings
TUNNY = {
    "tunny": {"train.batch_size": 32, "train.learning_rate": 3e-4},
    "tunny-tokens": {"train.batch_tokens": 2048, "train.learning_rate": 3e-4},
    "tunny-fp32": {"train.batch_size": 8, "train.learning_rate": 5e-5, "engine.precision": "fp32"},
}  # fmt: skip
PEERS = ("trainer-default", "trainer-best", "marlin")


# -- measuring ---------------------------------------------------------------------------------------------------------


def ceiling():
    """Return the best FLOP/s of a matrix product of encoder shape in the numbers this machine multiplies fastest."""
    found = []
    for dtype in (torch.bfloat16, torch.float32):
        left, right = torch.randn(672, 384).to(dtype), torch.randn(1536, 384).to(dtype)
        times, end = [], time.perf_counter() + 0.4
        while time.perf_counter() < end:
            started = time.perf_counter()
            torch.nn.functional.linear(left, right)
            times.append(time.perf_counter() - started)
        found.append(2.0 * 672 * 384 * 1536 / statistics.median(times))
    return max(found)


def quietly(run):
    """Run until the ceiling holds still, at most `TRIES` times; return the steadiest result with its ceiling and movement."""
    tries = []
    for _ in range(TRIES):
        before = ceiling()
        result = run()
        after = ceiling()
        tries.append({**result, "ceiling": (before + after) / 2, "moved": abs(after - before) / max(before, after)})
        if tries[-1]["moved"] <= QUIET:
            break
    return min(tries, key=lambda one: one["moved"])


def in_turn(sides, rounds, part):
    """Run every side once a round, the order turned each time; return the results of each."""
    found = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(quietly(sides[name]))
            shown = {key: value for key, value in found[name][-1].items() if key != "spans"}
            print(f"{part} round {number + 1} {name}: {json.dumps(shown)}", flush=True)
    return found


def call(command, environment=None):
    """Run a command and return its last line of output and its peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = subprocess.Popen(command, stdout=out, stderr=errors, env={**os.environ, **(environment or {})})
        _, status, usage = os.wait4(started.pid, 0)
        for file in (out, errors):
            file.seek(0)
        if status:
            raise SystemExit(f"{' '.join(map(str, command))}\n{errors.read()}")
        return (out.read().strip().splitlines() or [""])[-1], usage.ru_maxrss / 1024


def peer(*arguments):
    """Run one side of peers.py."""
    line, peak = call([sys.executable, str(HERE / "peers.py"), *map(str, arguments)])
    return {**json.loads(line), "memory": peak}


def tunny(folder, train, test=None, tokens=None, **settings):
    """Train with `tunny train` and return seconds of training, tokens, score and memory."""
    output = Path(tempfile.mkdtemp(dir=folder)) / "run"
    values = {
        "task": "ner",
        "output_dir": output,
        "data.train": train,
        "train.log_every_steps": 100000,
        "encode.max_tokens": 256,
        **settings,
    }
    if test:
        values["data.test"] = test
    flags = [f"--{key}={value}" for key, value in values.items()]
    _, peak = call([sys.executable, "-m", "tunny", "train", *flags], {"TUNNY_CACHE": str(folder / "cache")})
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    f1 = json.loads((output / "test" / "metrics.json").read_text())["metrics"]["f1"] if test else None
    return {"seconds": lines[-1]["time"], "tokens": tokens, "f1": f1, "memory": peak, "model": str(output / "model")}


# -- data --------------------------------------------------------------------------------------------------------------


def generated(path, rows, words, seed=1, form="conll"):
    """Write sentences of common one-token words, a tenth of them entities; `words` is a number or a range."""
    from transformers import AutoTokenizer

    from tunny.tasks.model import locate

    vocabulary = AutoTokenizer.from_pretrained(locate("embedded")).get_vocab()
    known = sorted((word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 3), key=vocabulary.get)[:8000]
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            chosen = draw.choices(known, k=words if isinstance(words, int) else draw.randint(*words))
            if form == "conll":
                file.write("".join(f"{word}\t{'B-THING' if draw.random() < 0.1 else 'O'}\n" for word in chosen) + "\n")
            else:
                file.write(json.dumps({"text": " ".join(chosen), "label": draw.choice(("yes", "no"))}) + "\n")
    return path


def sample(folder):
    """Write the sample of harbour news as CoNLL, sentence by sentence, for the sides that need words."""
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


# -- parts -------------------------------------------------------------------------------------------------------------


def training(options, folder):
    """Whole epochs of every side at its own batch and learning rate."""
    tokens = {}

    def theirs(side):
        result = peer("train", "--side", side, "--train", options.train, "--epochs", options.epochs)
        tokens[side] = result["tokens"]
        return result

    def ours(settings):
        result = tunny(folder, options.train, **{"train.epochs": options.epochs}, **settings)
        return {**result, "tokens": next(iter(tokens.values()))}

    sides = {side: lambda side=side: theirs(side) for side in PEERS}
    sides |= {name: lambda settings=settings: ours(settings) for name, settings in TUNNY.items()}
    return in_turn({name: side for name, side in sides.items() if name in options.sides}, options.rounds, "training")


def scores(options, folder):
    """F1 over seeds, each side at its own batch and learning rate."""
    sides = {"trainer-best": None, "tunny": TUNNY["tunny"], "tunny-tokens": TUNNY["tunny-tokens"]}
    found = {name: [] for name in sides}
    for seed in range(1, options.seeds + 1):
        for name, settings in sides.items():
            if settings is None:
                one = peer("train", "--side", name, "--train", options.train, "--test", options.test, "--epochs", 3, "--seed", seed)
            else:
                one = tunny(folder, options.train, options.test, **{"train.epochs": 3, "seed": seed}, **settings)
            found[name].append(one)
            print(f"scores seed {seed} {name}: {json.dumps(one)}", flush=True)
    return found


def prediction(options, folder):
    """Texts to spans, beside transformers' pipeline, many at a time and one at a time."""
    from tunny.data.audit import Audit
    from tunny.data.read import read
    from tunny.data.settings import DataSettings

    model = tunny(folder, options.train, **{"train.epochs": 3, **TUNNY["tunny"]})["model"]
    texts = [example.text for example in read([options.test], DataSettings(), "ner", Audit())]
    for name, some in (("many", texts), ("single", texts[:200])):
        (folder / f"{name}.json").write_text(json.dumps(some))

    def run(side, size, texts):
        return lambda: peer("predict", "--side", side, "--model", model, "--texts", folder / f"{texts}.json", "--batch-size", size)

    sides = {f"pipeline, batch {size}": run("pipeline", size, "many") for size in (8, 32, 128)}
    sides |= {side: run(side, 0, "many") for side in ("tunny-fp32", *(("tunny-bf16",) if FAST_BF16 else ()))}
    sides |= {"pipeline, one at a time": run("pipeline", 1, "single"), "tunny-fp32, one at a time": run("tunny-fp32", 1, "single")}
    found = in_turn(sides, options.rounds, "prediction")
    exact = {(at, *span) for at, row in enumerate(found["pipeline, batch 32"][0]["spans"]) for span in row}
    for name, runs in found.items():
        for one in runs:
            spans = {(at, *span) for at, row in enumerate(one.pop("spans")) for span in row}
            among = {span for span in exact if span[0] < len(texts[:200])} if "one at" in name else exact
            one |= {"texts": 200 if "one at" in name else len(texts), "agreement": 2 * len(spans & among) / max(1, len(spans) + len(among))}
    return found


def preparation(options, folder):
    """Examples to windows, beside datasets.map; by default of generated sentences, in which many words come again."""
    files = options.prepare or [f"ner={generated(folder / 'prepare.conll', 30_000, (5, 35))}"]
    found = {}
    for kind, _, file in (one.partition("=") for one in files):
        line, _ = call([sys.executable, str(HERE / "prepare.py"), file, "--kind", kind, "--rounds", str(options.rounds)])
        found[f"{kind}, {Path(file).name}"] = json.loads(line)
        print(f"preparation {kind} {line}", flush=True)
    return found


def long(options, folder):
    """Texts of 512 tokens: where padding and short steps do not matter."""
    data = generated(folder / "long.conll", 96, 510)
    common = ("--side", "trainer-best", "--train", data, "--max-length", 512, "--batch-size", 8)
    sides = {
        "trainer-best": lambda: peer("train", *common),
        "tunny": lambda: tunny(folder, data, tokens=96 * 512, **{"train.epochs": 1, "train.batch_size": 8, "encode.max_tokens": 512}),
    }
    return in_turn(sides, options.rounds, "long")


def large(options, folder):
    """A random encoder of the size of roberta-base, 16 rows of 64 tokens."""
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    from tunny.tasks.model import locate

    model = folder / "large"
    shape = {"vocab_size": 50265, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
    BertForTokenClassification(BertConfig(**shape, num_labels=3)).save_pretrained(model)
    AutoTokenizer.from_pretrained(locate("embedded")).save_pretrained(model)
    data = generated(folder / "large.conll", 16 * 12, 62)
    sides = {
        "trainer-best": lambda: peer("train", "--side", "trainer-best", "--train", data, "--batch-size", 16, "--model", model),
        "tunny": lambda: tunny(folder, data, tokens=16 * 12 * 64, **{"train.epochs": 1, "train.batch_size": 16, "model.name": model}),
    }
    found = in_turn(sides, options.rounds, "large")
    for one in (one for runs in found.values() for one in runs):
        one["parameters"] = 85.1e6
    return found


def growth(options, folder):
    """Preparing and labelling ten times the rows: seconds and memory."""
    model = tunny(folder, options.train, **{"train.max_steps": 5, "train.batch_size": 32})["model"]
    found = {"prepare": [], "predict": []}
    for rows in options.sizes:
        data = generated(folder / "grown.jsonl", rows, (5, 20), form="jsonl")
        cache = folder / f"grown-{rows}"
        flags = ["--task=classify", f"--data.train={data}", f"--output_dir={folder / 'unused'}"]
        program = [sys.executable, HERE / "measured.py"]
        first = json.loads(call([*program, "prepare", *flags], {"TUNNY_CACHE": str(cache)})[0])
        again = json.loads(call([*program, "prepare", *flags], {"TUNNY_CACHE": str(cache)})[0])
        found["prepare"].append({"rows": rows, **first, "again": again["seconds"]})
        print(f"growth {json.dumps(found['prepare'][-1])}", flush=True)
        if rows <= options.most_predicted:
            line = call([*program, "predict", model, str(data), "--out", str(folder / "out.jsonl")])[0]
            found["predict"].append({"rows": rows, **json.loads(line)})
            print(f"growth {json.dumps(found['predict'][-1])}", flush=True)
        subprocess.run(["rm", "-rf", str(cache)], check=True)
    return found


PARTS = {part.__name__: part for part in (training, scores, prediction, preparation, long, large, growth)}


def machine():
    """Return what numbers depend on."""
    from tunny.core.version import versions

    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "bf16": FAST_BF16,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }


def main():
    """Run parts and write their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=tuple(PARTS), default=list(PARTS))
    parser.add_argument("--train", help="CoNLL file; absent: the sample of harbour news")
    parser.add_argument("--test")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sides", nargs="+", choices=(*PEERS, *TUNNY), default=[*PEERS, *TUNNY], help="of training, a peer first")
    parser.add_argument("--prepare", nargs="+", metavar="KIND=FILE", help="files to prepare")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--most-predicted", type=int, default=10_000)
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = Path(options.train).name if options.train else "the sample of harbour news"
        if options.train is None:
            options.train, options.test = sample(folder)
        for part in options.parts:
            found = PARTS[part](options, folder)
            about = {
                "date": str(datetime.now(UTC).date()),
                "machine": machine(),
                "data": data,
                "epochs": options.epochs,
                "parameters": MINILM,
            }
            (RESULTS / f"{part}.json").write_text(json.dumps({"about": about, "sides": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
