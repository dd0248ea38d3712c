"""Two or more evaluations of the same data: which scores differ by more than chance, and which examples became right or wrong.

Made from evaluation folders alone; neither models nor torch are needed.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tunny.core.errors import RunError
from tunny.core.files import read_json
from tunny.core.page import table
from tunny.core.settings import flat, yaml_layer
from tunny.data.example import Example, Span
from tunny.data.labels import LabelSet
from tunny.evaluation.report import between, number
from tunny.metrics.spread import compare
from tunny.metrics.sums import Table
from tunny.tasks.scoring import as_predicted, scorer_of

LISTED = 50  # examples that became right, and that became wrong
PARTS = ("test", "validation")  # of a run folder, the first that is there


@dataclass(frozen=True)
class Evaluation:
    """An evaluation folder, and the settings of the run that it belongs to."""

    name: str
    folder: Path
    content: Mapping[str, Any]
    settings: Mapping[str, Any]

    def answered(self) -> Iterator[tuple[Example, dict[str, Any]]]:
        """Yield the examples with their predictions, in order."""
        files = [(self.folder / name).open(encoding="utf-8") for name in ("predictions.jsonl", "gold.jsonl")]
        with files[0] as answers, files[1] as golds:
            for answer, gold in zip_longest(answers, golds):
                if answer is None or gold is None:
                    raise RunError(f"{self.folder}: predictions.jsonl and gold.jsonl have not equally many lines")
                prediction, truth = json.loads(answer), json.loads(gold)
                yield _example(prediction, truth), prediction


def find_evaluation(name: str, part: str | None = None) -> Evaluation:
    """Return the evaluation of a run folder (its test data, else its validation data) or an evaluation folder."""
    run = Path(name)
    folders = [run / part] if part else [run, *(run / one for one in PARTS)]
    folder = next((one for one in folders if (one / "metrics.json").is_file()), None)
    if folder is None:
        raise RunError(f"{name}: expected a run or an evaluation, found no metrics.json in {', '.join(map(str, folders))}")
    if not (folder / "gold.jsonl").is_file():
        raise RunError(
            f"{folder}: has no gold.jsonl. Those of a task of your own cannot be compared. Evaluate again where it is an older one."
        )
    config = next((one / "config.yaml" for one in (run, folder.parent) if (one / "config.yaml").is_file()), None)
    settings = {} if config is None else dict(flat(yaml_layer(config).values))
    return Evaluation(name.rstrip("/"), folder, read_json(folder / "metrics.json"), settings)


def _example(prediction: Mapping[str, Any], gold: Mapping[str, Any]) -> Example:
    kinds: dict[str, Callable[[Any], Any]] = {"spans": Span._make, "words": tuple, "labels": str}
    held: dict[str, Any] = {name: tuple(map(kind, gold[name])) for name, kind in kinds.items() if name in gold}
    held |= {name: gold.get(name) for name in ("score", "document")}
    return Example(gold["id"], prediction["text"], text_b=prediction.get("text_b"), **held)


def compare_all(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Return the findings: each evaluation beside the first, all on the same data with the same gold labels."""
    if len(evaluations) < 2:
        raise RunError("expected two or more runs or evaluations to compare, found one")
    kinds = {one.content["task"] for one in evaluations}
    if len(kinds) > 1:
        raise RunError(f"cannot compare different tasks: {', '.join(sorted(kinds))}")
    first, *others = evaluations
    names = list(dict.fromkeys(name for one in evaluations for name in one.content["labels"]))
    if kinds & {"classify"} and len(names) != len(first.content["labels"]):
        raise RunError("cannot compare classifiers with different labels")
    labels = LabelSet(first.content["task"], tuple(names))
    base = _Answers(first, labels)
    return {
        "task": labels.kind, "data": _near(first.content["data"]), "examples": base.examples, "first": first.name,
        "metrics": first.content["metrics"], "others": [_beside(base, _Answers(other, labels)) for other in others],
    }  # fmt: skip


class _Answers:
    """The table of an evaluation, and which of its examples are right."""

    def __init__(self, evaluation: Evaluation, labels: LabelSet):
        self.evaluation = evaluation
        self.scorer = scorer_of(labels)
        self.table = Table()
        self.right = bytearray()
        self.gold: list[int] = []  # a hash of each example's text and gold labels
        for example, prediction in evaluation.answered():
            if counts := self.scorer.count(example, prediction):
                self.table.add(counts, example.document)
            self.right.append(_is_right(example, prediction))
            self.gold.append(hash((example.text, example.text_b, example.spans, example.labels, example.score)))
        self.examples = len(self.gold)

    def some(self, rows: Sequence[int]) -> dict[int, tuple[Example, dict[str, Any]]]:
        """Return some examples with their predictions."""
        wanted = set(rows)
        return {row: one for row, one in enumerate(self.evaluation.answered()) if row in wanted}


def _is_right(example: Example, prediction: dict[str, Any]) -> bool:
    gold, given = (set(one.spans or one.labels or ()) for one in (example, as_predicted(example, prediction)))
    return gold <= given if "tags" in prediction else gold == given and "value" not in prediction


def _beside(first: _Answers, other: _Answers) -> dict[str, Any]:
    if first.gold != other.gold:
        where = next((row for row, pair in enumerate(zip(first.gold, other.gold, strict=False)) if pair[0] != pair[1]), None)
        found = f"{first.examples} and {other.examples} examples" if where is None else f"example {where + 1} differs"
        raise RunError(f"{other.evaluation.folder}: was made on other data than {first.evaluation.folder}: {found}")

    differences = compare(first.table, other.table, first.scorer.metrics)
    changed = [(row, after) for row, (before, after) in enumerate(zip(first.right, other.right, strict=True)) if before != after]
    became = {"fixed": [row for row, after in changed if after], "broken": [row for row, after in changed if not after]}
    shown = {name: rows[:LISTED] for name, rows in became.items()}
    every = [row for rows in shown.values() for row in rows]
    old, new = first.some(every), other.some(every)
    settings = (first.evaluation.settings, other.evaluation.settings)
    return {
        "name": other.evaluation.name,
        "metrics": other.evaluation.content["metrics"],
        "differences": {name: found._asdict() for name, found in differences.items()},
        "settings": [
            [name, *(_near(str(side.get(name, "-"))) for side in settings)]
            for name in {**settings[0], **settings[1]} if all(settings) and settings[0].get(name) != settings[1].get(name)
        ],
        **{name: len(rows) for name, rows in became.items()},
        "listed": {name: [_changed(*old[row], new[row][1]) for row in rows] for name, rows in shown.items()},
    }  # fmt: skip


def _near(text: str) -> str:
    """Return a text with paths below the current folder as they are typed there."""
    return text.replace(f"{Path.cwd()}/", "")


def _changed(example: Example, before: dict[str, Any], after: dict[str, Any]) -> dict[str, str]:
    def said(one: Example) -> str:
        return ", ".join([f"{one.text[span.start : span.end]} ({span.label})" for span in one.spans or ()] or one.labels or ())

    sides = {"first": before, "second": after}
    answers = {name: " ".join(one["tags"]) if "tags" in one else said(as_predicted(example, one)) for name, one in sides.items()}
    return {"id": example.id, "text": " / ".join(filter(None, (example.text, example.text_b))), "gold": said(example), **answers}


def lines(findings: Mapping[str, Any]) -> list[str]:
    """Return the findings for a terminal."""
    found = [f"{findings['task']} on {findings['data']}: {findings['examples']:,} examples; differences from {findings['first']}"]
    for other in findings["others"]:
        rows = [
            [name, number(findings["metrics"][name]), number(other["metrics"][name]), f"{one['value']:+.4f}", between(one["interval"]), f"{one['p_value']:.3f}"]
            for name, one in other["differences"].items() if findings["metrics"].get(name) is not None
        ]  # fmt: skip
        found += ["", *table(["metric", findings["first"], other["name"], "difference", "95 % interval", "p"], rows).split("\n")]
        became = f"became right: {other['fixed']:,} examples; became wrong: {other['broken']:,}"
        found += [f"{became} (right is one with all its labels and no others)"]
        found += [f"setting {name}: {before} -> {after}" for name, before, after in other["settings"]]
    return found
