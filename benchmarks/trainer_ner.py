"""One fine-tuning with transformers' Trainer as `run_ner.py` does it, for comparison: prints a JSON line.

Words come pre-split, the first sub-token learns the tag, batches are padded to their longest row, the best epoch by entity F1
(seqeval) is kept. Everything that is not said is Trainer's default.
"""

import argparse
import json
import tempfile
import time
from collections import Counter

import numpy as np
import transformers
from seqeval.metrics import f1_score
from torch.utils.data import Dataset

from tunny.data.audit import Audit
from tunny.data.labels import label_set
from tunny.data.read import read
from tunny.data.settings import DataSettings
from tunny.data.tags import tag_words
from tunny.tasks.model import locate


class Rows(Dataset):
    """Encoded sentences in a list."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, at):
        return self.rows[at]


def encode(examples, tokenizer, labels):
    """Return Trainer's rows: ids and labels, -100 at all but first sub-tokens."""
    rows = []
    for example in examples:
        words = [example.text[start:end] for start, end in example.words]
        tags = [labels.ids[tag] for tag in tag_words(example.spans or (), example.words)]
        encoding = tokenizer(words, is_split_into_words=True, truncation=True, max_length=256)
        before, targets = None, []
        for word in encoding.word_ids():
            targets.append(-100 if word is None or word == before else tags[word])
            before = word
        rows.append({"input_ids": encoding["input_ids"], "attention_mask": encoding["attention_mask"], "labels": targets})
    return Rows(rows)


def main():
    """Train once and print score and speed."""
    parser = argparse.ArgumentParser()
    for name, kind in (("train", str), ("validation", str), ("seed", int), ("epochs", int), ("batch_size", int), ("learning_rate", float)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    parser.add_argument("--precision", choices=("fp32", "bf16"), required=True)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    splits = {name: list(read([getattr(options, name)], DataSettings(), "ner", Audit())) for name in ("train", "validation")}
    found = {name: Counter(span.label for example in examples for span in example.spans) for name, examples in splits.items()}
    labels, _ = label_set("ner", None, found)
    folder = locate("embedded")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    names = dict(enumerate(labels.names))
    transformers.set_seed(options.seed)
    model = transformers.AutoModelForTokenClassification.from_pretrained(folder, id2label=names, label2id=labels.ids)

    def metrics(result):
        best = result.predictions.argmax(-1)
        gold = [[names[g] for g in row if g != -100] for row in result.label_ids]
        guess = [[names[p] for p, g in zip(line, row, strict=True) if g != -100] for line, row in zip(best, result.label_ids, strict=True)]
        return {"f1": f1_score(gold, guess)}

    with tempfile.TemporaryDirectory() as output:
        arguments = transformers.TrainingArguments(
            output, seed=options.seed, num_train_epochs=options.epochs, per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate, weight_decay=0.01, warmup_steps=0.1, bf16=options.precision == "bf16", use_cpu=True,
            eval_strategy="epoch", save_strategy="epoch", save_total_limit=1, load_best_model_at_end=True, metric_for_best_model="f1",
            report_to=[], disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        rows = {name: encode(examples, tokenizer, labels) for name, examples in splits.items()}
        trainer = transformers.Trainer(
            model, arguments, transformers.DataCollatorForTokenClassification(tokenizer), rows["train"], rows["validation"],
            compute_metrics=metrics,
        )  # fmt: skip
        started = time.monotonic()
        trainer.train()
        seconds = time.monotonic() - started
        scores = [entry["eval_f1"] for entry in trainer.state.log_history if "eval_f1" in entry]
    rate = len(rows["train"]) * options.epochs / seconds
    print(json.dumps({"f1": float(np.max(scores)), "last_f1": scores[-1], "examples_per_second": rate, "seconds": seconds}))


if __name__ == "__main__":
    main()
