"""One side of a comparison in a fresh process: what people would pick instead of Tunny, and Tunny's predictor. Prints a JSON line.

    python benchmarks/peers.py train --side trainer-default --train FILE --test FILE --epochs 1 --seed 1
    python benchmarks/peers.py predict --side pipeline --model FOLDER --texts FILE --batch-size 32

`trainer-default` is transformers' Trainer as `run_ner.py` leaves it: batches of 8 padded to their longest row, fp32, 5e-5.
`trainer-best` has its fast settings: batches of 32, rows of like length together, bf16 where the processor multiplies it fast.
`marlin` is a padded recipe in the way of PyMarlin's plugin: every row padded to 128, batches of 32, fp32, a plain loop.
Tokens are pre-split words, the first sub-token learns the tag, scores are entity F1 (seqeval).
"""

import argparse
import json
import tempfile
import time
from collections import Counter

import torch
import transformers
from seqeval.metrics import f1_score
from torch.utils.data import DataLoader

import tunny
from tunny.data.audit import Audit
from tunny.data.labels import label_set
from tunny.data.read import read
from tunny.data.settings import DataSettings
from tunny.data.tags import tag_words
from tunny.engine.precision import fast_precision
from tunny.engine.settings import EngineSettings
from tunny.tasks.model import locate

FAST_BF16 = fast_precision(torch.device("cpu"))[0] == "bf16"
RATES = {"trainer-default": 5e-5, "trainer-best": 2e-4, "marlin": 4e-5}


def encode(examples, tokenizer, labels, length, padding=False):
    """Return rows of ids and labels, -100 at all but first sub-tokens."""
    rows = []
    for example in examples:
        words = [example.text[start:end] for start, end in example.words]
        tags = [labels.ids[tag] for tag in tag_words(example.spans or (), example.words)]
        encoding = tokenizer(
            words, is_split_into_words=True, truncation=True, max_length=length, padding="max_length" if padding else False
        )
        before, targets = None, []
        for word in encoding.word_ids():
            targets.append(-100 if word is None or word == before else tags[word])
            before = word
        rows.append({"input_ids": encoding["input_ids"], "attention_mask": encoding["attention_mask"], "labels": targets})
    return rows


def trainer(options, model, rows, collate):
    """Train with Trainer; return the seconds it took and the rows it saw."""
    best = options.side == "trainer-best"
    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.TrainingArguments(
            output, seed=options.seed, num_train_epochs=options.epochs, per_device_train_batch_size=options.batch_size or (32 if best else 8),
            learning_rate=options.learning_rate or RATES[options.side], bf16=best and FAST_BF16, use_cpu=True, save_strategy="no",
            train_sampling_strategy="group_by_length" if best else "random", warmup_steps=0.1 if best else 0, report_to=[],
            disable_tqdm=True, logging_strategy="no", max_steps=options.max_steps or -1,
        )  # fmt: skip
        chosen = transformers.Trainer(model, arguments, collate, rows)
        started = time.perf_counter()
        chosen.train()
        return time.perf_counter() - started, chosen.state.global_step * arguments.per_device_train_batch_size


def marlin(options, model, rows, collate):
    """Train as PyMarlin's recipe does; return the same."""
    size = options.batch_size or 32
    loader = DataLoader(rows, batch_size=size, shuffle=True, collate_fn=collate)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate or RATES["marlin"])
    total = options.max_steps or len(loader) * options.epochs
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, total // 10, total)
    model.train()
    started, steps = time.perf_counter(), 0
    while steps < total:
        for batch in loader:
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            steps += 1
            if steps == total:
                break
    return time.perf_counter() - started, steps * size


@torch.inference_mode()
def scored(model, rows, collate, names):
    """Return entity F1 on rows."""
    model.eval()
    gold, guess = [], []
    for batch in DataLoader(rows, batch_size=64, collate_fn=collate):
        labels = batch.pop("labels")
        for line, row in zip(model(**batch).logits.argmax(-1).tolist(), labels.tolist(), strict=True):
            gold.append([names[g] for g in row if g != -100])
            guess.append([names[p] for p, g in zip(line, row, strict=True) if g != -100])
    return f1_score(gold, guess)


def train(options):
    """Train one side once."""
    paths = {"train": options.train, **({"test": options.test} if options.test else {})}
    splits = {name: list(read([path], DataSettings(), "ner", Audit())) for name, path in paths.items()}
    found = {name: Counter(span.label for example in examples for span in example.spans) for name, examples in splits.items()}
    labels, _ = label_set("ner", None, found)
    folder = options.model if options.model else locate("embedded")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    names = dict(enumerate(labels.names))
    transformers.set_seed(options.seed)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder, id2label=names, label2id=labels.ids, dtype=torch.float32)
    length = 128 if options.side == "marlin" else options.max_length
    rows = {name: encode(examples, tokenizer, labels, length, options.side == "marlin") for name, examples in splits.items()}
    collate = transformers.DataCollatorForTokenClassification(tokenizer)
    seconds, seen = (marlin if options.side == "marlin" else trainer)(options, model, rows["train"], collate)
    tokens = sum(sum(row["attention_mask"]) for row in rows["train"])
    passes = seen / len(rows["train"]) if options.max_steps else options.epochs
    return {"seconds": seconds, "tokens": tokens * passes, "f1": scored(model, rows["test"], collate, names) if options.test else None}


def predict(options):
    """Label texts and return the spans and the seconds it took."""
    with open(options.texts, encoding="utf-8") as file:
        texts = json.load(file)
    if options.side.startswith("tunny"):
        return predict_tunny(options, texts)
    chosen = transformers.pipeline("token-classification", options.model, aggregation_strategy="first", device="cpu", dtype=torch.float32)
    chosen(texts[:64], batch_size=options.batch_size)
    started = time.perf_counter()
    found = [chosen(text) for text in texts] if options.batch_size == 1 else chosen(texts, batch_size=options.batch_size)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "spans": [[[span["start"], span["end"], span["entity_group"]] for span in row] for row in found]}


def predict_tunny(options, texts):
    """Do the same with Tunny."""
    chosen = tunny.load(options.model, engine=EngineSettings(precision=options.side.removeprefix("tunny-")))
    chosen.predict(texts[:64])
    started = time.perf_counter()
    found = [chosen.predict([text])[0] for text in texts] if options.batch_size == 1 else chosen.predict(texts)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "spans": [[[span["start"], span["end"], span["label"]] for span in row["spans"]] for row in found]}


def main():
    """Run one side and print its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("train")
    one.add_argument("--side", choices=tuple(RATES), required=True)
    one.add_argument("--train", required=True)
    one.add_argument("--test")
    one.add_argument("--epochs", type=int, default=1)
    one.add_argument("--max-steps", type=int)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--batch-size", type=int)
    one.add_argument("--learning-rate", type=float)
    one.add_argument("--max-length", type=int, default=256)
    one.add_argument("--model")
    other = commands.add_parser("predict")
    other.add_argument("--side", choices=("pipeline", "tunny-fp32", "tunny-bf16"), required=True)
    other.add_argument("--model", required=True)
    other.add_argument("--texts", required=True)
    other.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    print(json.dumps((train if options.command == "train" else predict)(options)))


if __name__ == "__main__":
    main()
