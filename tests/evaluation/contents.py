"""Contents of evaluation pages for tests: every kind of task, texts in many scripts."""

import random

EMOJI = "the 👩‍👩‍👧 crew of 🚢 Morning Star landed 🐟 in Lerwick"
ARABIC = "وصلت السفينة نجمة الصباح إلى ميناء الإسكندرية يوم الجمعة"
PROSE = "the harbour master of Lerwick said on Friday that the trawler Morning Star had landed forty boxes of turbot and 🐟 hake"
KINDS = ("missed", "spurious", "wrong label", "wrong boundary", "wrong label and boundary")
PLACES = ("LOC", "ORG", "PER", "VESSEL")


def span(text, form, label):
    """Return the span of a form in a text, in code points."""
    start = text.index(form)
    return {"label": label, "start": start, "end": start + len(form)}


def error(kind, text, gold=None, predicted=None, **other):
    """Return one listed error."""
    return {"kind": kind, "where": "test.jsonl:7", "id": "", "text": text, "gold": gold, "predicted": predicted, "score": 0.75, **other}


def content(task="ner", **other):
    """Return what a page needs and nothing that may be absent."""
    return {
        "title": "Evaluation", "task": task, "model": "runs/harbour/model", "data": "test.jsonl", "examples": 1000,
        "speed": {"examples_per_second": 812.3, "seconds": 1.2}, "headline": "f1", "metrics": {"f1": 0.9123, "loss": None},
        "intervals": {"f1": [0.8951, 0.927], "loss": None}, "per_label": {}, "slices": [], "lengths": [],
        "errors": {"number": 0, "listed": []}, "audit": {"counts": {}, "flows": {}, "events": {}, "notes": []}, "notes": [],
        "environment": {}, "reproduce": [], **other,
    }  # fmt: skip


def listed(errors):
    """Return errors as a page takes them."""
    return {"number": len(errors), "listed": errors}


def reliable(ece, by):
    """Return a calibration curve whose predictions are too sure by so much."""
    bins = [
        {"low": at / 10, "high": (at + 1) / 10, "confidence": at / 10 + 0.05, "right": max(0, at / 10 + 0.05 - by), "number": at**3}
        for at in range(10)
    ]
    return {"ece": ece, "bins": bins}


def part(name, metric, values, seed=0):
    """Return a slice with made-up scores."""
    made = random.Random(seed)
    rows = []
    for value in values:
        score = made.uniform(0.6, 0.95)
        rows.append({
            "value": value, "examples": made.randrange(20, 400), "score": score, "interval": [score - 0.06, min(1, score + 0.05)],
            "gold": 120, "predicted": 118, "right": 100,
        })  # fmt: skip
    return {"name": name, "metric": metric, "rows": rows}


def errors(number, seed=0):
    """Return errors of entities in English, with emoji, and from right to left."""
    made = random.Random(seed)
    found = []
    for at in range(number):
        kind = KINDS[at % 5]
        text = ARABIC if at % 9 == 4 else EMOJI if at % 9 == 7 else " ".join(made.choices(PROSE.split(), k=made.randrange(12, 36)))
        forms = text.split()
        first = made.randrange(len(forms) - 3)
        near, far = " ".join(forms[first : first + 1]), " ".join(forms[first : first + 2])
        gold = span(text, far, PLACES[at % 4]) if kind != "spurious" else None
        shift = far if "boundary" not in kind else near
        guess = span(text, shift, PLACES[(at + ("label" in kind)) % 4]) if kind != "missed" else None
        if "boundary" in kind and gold:
            guess = {**guess, "start": gold["start"], "end": gold["start"] + len(near)}
        score = None if kind == "missed" else made.uniform(0.3, 1)
        found.append(error(kind, text, gold, guess, where=f"test.jsonl:{at * 7 + 1}", id=f"doc-{at}", score=score))
    return found


def full(number=60, labels=6):
    """Return a page of entities with everything on it."""
    names = [*PLACES, *(f"LABEL {at}" for at in range(labels - 4)), ""]
    made = random.Random(1)
    counts = [[made.randrange(60, 400) if a == b and a else made.randrange(30) if made.random() < 0.4 else 0 for b in names] for a in names]
    steps = range(0, 2001, 10)
    return content(
        title="Evaluation of harbour", metrics={"f1": 0.8412, "precision": 0.8533, "recall": 0.8294, "macro_f1": 0.79, "loss": 0.1234},
        headline="f1", intervals={"f1": [0.8217, 0.8598], "precision": [0.83, 0.87], "recall": [0.81, 0.85]},
        per_label={
            name: {"precision": 0.9 * 0.97**at, "recall": 0.85 * 0.95**at, "f1": 0.87 * 0.96**at, "support": 400 // (at + 1),
                   "interval": [0.84 * 0.93**at, min(1, 0.9 * 0.98**at)]}
            for at, name in enumerate(names[:-1])
        },
        schemes={
            name: {"correct": 700 + 40 * at, "incorrect": 90 - 9 * at, "partial": 40 if name == "partial" else 0, "missed": 80, "spurious": 60,
                   "possible": 900, "actual": 880, "precision": 0.8 + at / 50, "recall": 0.78 + at / 50, "f1": 0.79 + at / 50}
            for at, name in enumerate(["strict", "exact", "partial", "type"])
        },
        confusion={"names": names, "counts": counts},
        calibration={"before": reliable(0.0812, 0.09), "after": reliable(0.0123, 0.01), "note": "The temperature was fitted on validation."},
        thresholds=[
            {"precision": 0.9, "threshold": 0.71, "coverage": 0.83}, {"precision": 0.95, "threshold": 0.88, "coverage": 0.61},
            {"precision": 0.99, "threshold": None, "coverage": None},
        ],
        slices=[
            part("text length", "f1", ["1 to 10 words", "11 to 20 words", "21 to 40 words", "more than 40 words"]),
            part("seen in training", "f1", ["seen with this label", "seen with another label", "not seen"], 3),
        ],
        lengths=[
            {"of": of, "quantiles": [12, 25, 48, 93], "edges": list(range(0, 50, 2)), "counts": [made.randrange(200) // (at + 1) for at in range(24)]}
            for of in ("words of a text", "tokens of a text", "words of a span")
        ],
        errors={"number": number * 2, "listed": errors(number)},
        curves={
            "series": {
                "train/loss": [[step, 2.2 / (1 + step / 150) + made.random() / 9] for step in steps if step],
                "validation/loss": [[step, 2 / (1 + step / 170) + 0.1 + step / 9000] for step in steps[20::20]],
                "validation/f1": [[step, 0.84 - 0.7 / (1 + (step / 200) ** 2)] for step in steps[20::20]],
                "train/learning_rate": [[step, 5e-5 * (1 - step / 2000)] for step in steps[::5]],
            },
            "best_step": 1600,
        },
        audit={
            "counts": {"words without spaces": 3},
            "flows": {
                "examples": {"in": 1010, "kept": 990, "repaired": {"quotes": 10}, "dropped": {"empty text": 10}},
                "spans": {"in": 3000, "kept": 3000, "repaired": {}, "dropped": {}},
            },
            "events": {"words without spaces": [{"where": "test.jsonl:3", "detail": "Lerwick.On"}]}, "notes": ["format: json"],
        },
        ceiling="3 of 3,000 spans (0.1 %) cannot be found, as no token starts where they start: no model reaches more than 0.9995.",
        notes=["These data chose the best epoch: the score is somewhat too good.", "Two labels have fewer than ten examples."],
        settings="model:\n  name: microsoft/deberta-v3-small\ntrain:\n  learning_rate: 5.0e-05\n  epochs: 4\n",
        environment={"tunny": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        reproduce=["tunny train harbour.yaml --output_dir runs/harbour", "tunny evaluate runs/harbour/model test.jsonl --out evaluation"],
    )  # fmt: skip
