"""The evaluation folder: metrics.json, predictions.jsonl, gold.jsonl, and the reports made of them; whole or not at all."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunny.core.console import say
from tunny.core.errors import RunError
from tunny.core.files import new_folder, write_json, write_text
from tunny.core.page import render
from tunny.data.audit import Audit
from tunny.data.check import distribution
from tunny.data.example import Example
from tunny.evaluation.examine import Examination
from tunny.evaluation.layouts import WRITTEN, metaextractor_files
from tunny.evaluation.plots import plots
from tunny.evaluation.predict import Chunk
from tunny.evaluation.report import PRF, beside_teacher, in_order, markdown, number
from tunny.evaluation.score import Scores, score, slices
from tunny.metrics import calibration as trust
from tunny.metrics.calibration import Calibration, Tuned
from tunny.metrics.spans import SCHEMES, labels_of, ratio, scheme_scores
from tunny.metrics.sums import Counts
from tunny.tasks.base import Answer, Model, Task
from tunny.tasks.scoring import LabelsScorer

FILES = ("metrics.json", "predictions.jsonl", "gold.jsonl", "report.md", "report.html", "plots")
CHOSE = "This data chose the best epoch, so expect a little less on new text."
FILES_SAID = 10  # most files whose scores are said one by one
NEVER_SURE = 2.0  # a score that no answer has
PRECISIONS = (0.8, 0.9, 0.95, 0.99)  # whose thresholds are told


@dataclass(frozen=True)
class About:
    """What the reports say of an evaluation beside what it found."""

    title: str
    model: str
    data: str
    audit: Audit
    files: Collection[str] = ()  # names of the data files, in the order of their numbers
    forms: Collection[str] | None = None  # surface forms of the training data
    chose: bool = False  # whether this data chose the model or was used to tune it
    page: Mapping[str, Any] = field(default_factory=dict)  # curves, settings, environment and the like
    layout: str | None = None  # of another tool, whose files are written too
    taught: Mapping[str, Any] | None = None  # of a student: its teacher's scores, and the size and speed of both


def require_own(folder: Path) -> None:
    """Raise RunError where a folder holds anything that an evaluation did not write: it would be lost."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: expected a folder for the evaluation, found a file. Choose another --out.")
    found = {path.name for path in folder.glob("*")}
    theirs = sorted(name for name in found.difference(FILES) if not ("metrics.json" in found and WRITTEN.fullmatch(name)))
    if theirs:
        raise RunError(f"{folder}: holds {theirs[0]!r}, which an evaluation would replace. Choose an empty or new folder for --out.")


def evaluate_to(folder: Path, model: Model, task: Task, chunks: Iterable[Chunk], about: About) -> Scores:
    """Score and write the evaluation folder; one that is there already is replaced."""
    seen = Examination(task.labels.names, list(about.files), about.forms)
    encode = json.JSONEncoder(ensure_ascii=False).encode
    with new_folder(folder, replace=True) as temporary:
        predictions, golds = ((temporary / name).open("w", encoding="utf-8") for name in ("predictions.jsonl", "gold.jsonl"))
        with predictions, golds:

            def watch(example: Example, answer: Answer) -> Counts:
                predictions.write(encode(answer.prediction) + "\n")
                golds.write(encode(_gold(example)) + "\n")
                return seen.look(example, answer)

            scores = score(model, task, chunks, watch)
        content = _content(scores, seen, task, about)
        write_json(temporary / "metrics.json", content)
        theirs = metaextractor_files(content, scores.table.sums(), about.files) if about.layout == "metaextractor" else {}
        for name, text in theirs.items():
            write_text(temporary / name, text)
        notes = [CHOSE] * about.chose + ceiling(about.audit)
        if "cross_fitted" in content:
            crossed = ", ".join(f"{name} {number(value)}" for name, value in content["cross_fitted"].items())
            notes.append(f"Thresholds of labels were tuned on this data; fitted on one half of it and scored on the other: {crossed}.")
        write_text(temporary / "report.md", markdown({**content, "notes": notes}))
        shown = {"environment": {}, "reproduce": [], **content, **about.page, "title": about.title, "headline": task.metric}
        shown |= {"errors": {"number": seen.errors.total(), "listed": seen.listed()}, "notes": notes, "beside": beside_teacher(content)}
        shown["lengths"] = [distribution("words of a text", np.array(seen.sizes))] if seen.sizes else []
        write_text(temporary / "report.html", render("report.html", shown))
        (temporary / "plots").mkdir()
        for name, drawn in plots(shown).items():
            write_text(temporary / "plots" / name, drawn)
    return scores


def say_scores(name: str, scores: Scores, report: Path) -> None:
    """Print the metrics of an evaluation, those of some files one by one, and where its report is."""
    say(f"{name}: " + "  ".join(f"{metric} {number(value)}" for metric, value in scores.metrics.items()))
    for part in (one for one in _slices(scores, {}) if one["name"] == "source file" and len(one["rows"]) <= FILES_SAID):
        for row in part["rows"]:
            say(f"  {row['value']}: {part['metric']} {number(row['score'])} ({row['examples']:,} examples)")
    say(f"report: {report}")


def tune(model: Model, task: Task, chunks: Callable[[], Iterable[Chunk]], thresholds: bool, precision: float | None) -> Tuned:
    """Return thresholds, calibration and the end of the unsure answers that fit data whose truth is known, in this order."""
    task.tuned = Tuned()
    if thresholds:
        scorer = score(model, task, chunks()).scorer
        assert isinstance(scorer, LabelsScorer)
        columns = zip(task.labels.names, *(array.T for array in scorer.kept()), strict=True)
        task.tuned = Tuned(thresholds={name: trust.best_threshold(scores, gold) for name, scores, gold in columns})
    seen = Examination(task.labels.names, [])
    score(model, task, chunks(), seen.look)
    found, right = np.array(seen.scores), np.frombuffer(bytes(seen.right), np.bool_)
    calibration, abstain = trust.fit(found, right), None
    if precision is not None:
        reached = trust.threshold_for(found if calibration == Calibration() else calibration.apply(found), right, precision)
        abstain = NEVER_SURE if reached is None else round(reached[0], 6)
    return replace(task.tuned, calibration=calibration, precision=precision, abstain_below=abstain)


def _gold(example: Example) -> dict[str, Any]:
    """Return the gold labels of an example, with what scoring them again needs."""
    names = ("id", "document", "words", "labels", "score", "spans")
    return {name: value for name in names if (value := getattr(example, name)) is not None}


def _content(scores: Scores, seen: Examination, task: Task, about: About) -> dict[str, Any]:
    spread, sums = scores.intervals(), scores.table.sums()
    content: dict[str, Any] = {
        "task": scores.task, "labels": list(task.labels.names), "model": about.model, "data": about.data, "examples": scores.examples, "metrics": in_order(scores.metrics),
        "intervals": {name: spread["metrics", name] for name in scores.metrics if ("metrics", name) in spread},
        "per_label": {label: {**row, "interval": spread.get(("labels", label))} for label, row in scores.per_label.items()},
        "speed": {"examples_per_second": scores.examples / max(scores.seconds, 1e-9), "seconds": scores.seconds},
    }  # fmt: skip
    if scores.task in ("ner", "chunk"):
        content["schemes"] = {scheme: _numbers(scheme_scores(sums, scheme)) for scheme in SCHEMES}
        for label in labels_of(sums):
            content["per_label"][label]["schemes"] = {scheme: _numbers(scheme_scores(sums, scheme, label)) for scheme in SCHEMES}
    content["slices"] = _slices(scores, spread)
    if seen.confusion:
        names = sorted({name for pair in seen.confusion for name in pair} - {""})
        names += [""] * any("" in pair for pair in seen.confusion)  # nothing, last
        content["confusion"] = {"names": names, "counts": [[seen.confusion[gold, predicted] for predicted in names] for gold in names]}
    if len(seen.scores):
        content |= _trust(seen, task, about.chose)
    if task.tuned.thresholds is not None:
        content["label_thresholds"] = dict(task.tuned.thresholds)
        if about.chose:
            content["cross_fitted"] = _cross_tuned(scores, seen)
    if about.taught is not None:
        content["distilled"] = dict(about.taught)
    return content | {"errors": dict(seen.errors.most_common()), "audit": about.audit.to_json()}


def ceiling(audit: Audit) -> list[str]:
    """Say which score a model without faults would get, where the tags of words cannot say all gold spans."""
    flow = audit.flow("spans to learn")
    if flow.kept == flow.taken:
        return []
    why = ", ".join(f"{number:,} {kind}" for kind, number in (flow.dropped + flow.repaired).items())
    lost, best = flow.taken - flow.kept, 2 * flow.kept / (flow.kept + flow.taken)
    return [f"Of {flow.taken:,} gold spans the tags of words cannot say {lost:,} ({why}): f1 can be {number(best)} at most."]


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) if name in PRF or not float(value).is_integer() else int(value) for name, value in row.items()}


def _slices(scores: Scores, spread: Mapping[tuple[str, ...], Any]) -> list[dict[str, Any]]:
    """Return the slices with more than one value, each with its rows."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (name, value), row in slices(scores.table.sums()).items():
        counts: dict[str, Any] = {what: int(row[what]) for what in ("examples", "gold", "predicted", "right") if what in row}
        known = {"score": float(row["score"]) if np.isfinite(row["score"]) else None, "interval": spread.get(("slices", name, value))}
        found.setdefault(name, []).append({"value": value, **known, "examples": None, **counts})
    metric = "mse" if scores.task == "regress" else "accuracy" if scores.task in ("classify", "pos") else "f1"

    def natural(row: Mapping[str, Any]) -> tuple[bool, int, str]:
        """Return a key that sorts sizes by number, and `more than` behind them."""
        value = str(row["value"])
        return value.startswith("more than"), next((int(part) for part in value.split() if part.isdigit()), 0), value

    return [{"name": name, "metric": metric, "rows": sorted(rows, key=natural)} for name, rows in found.items() if len(rows) > 1]


def _trust(seen: Examination, task: Task, chose: bool) -> dict[str, Any]:
    """Return how far scores mean what they say, before and after calibration, and the thresholds of some precisions."""
    given, right, half = np.array(seen.scores), *(np.frombuffer(bytes(one), np.bool_) for one in (seen.right, seen.half))
    used, note = task.tuned.calibration, "no calibration: there was no validation data, or too little"
    before, after = used.undo(given), given
    if used != Calibration():
        if task.labels.kind == "pos":  # whose predictions have no scores: these are as the model gave them
            before, after = given, used.apply(given)
        note = f"temperature {used.temperature:.3g}, shift {used.shift:.3g}, fitted on validation data"
        if chose:
            after = trust.cross_fitted(before, right, half)
            note += "; as this is that data, shown cross-fitted: each half of its documents by the fit on the other"
    sides = {"before": before, "after": after}
    plots = {name: {"ece": trust.ece(values, right), "bins": trust.reliability(values, right)} for name, values in sides.items()}
    found = {"calibration": {**asdict(used), "note": note, **plots}, "thresholds": trust.wanted(after, right, PRECISIONS)}
    if task.tuned.precision is not None:
        found["unsure"] = _unsure(task.tuned, after, right, half if chose else None)
    return found


def _cross_tuned(scores: Scores, seen: Examination) -> dict[str, float]:
    """Return F1 where the threshold of each label is the best of the other half of the documents."""
    assert isinstance(scores.scorer, LabelsScorer)
    values, gold = scores.scorer.kept()
    half, given = np.frombuffer(bytes(seen.label_half), np.bool_), np.zeros_like(gold)
    for part in (half, ~half):
        for k in range(gold.shape[1]):
            given[part, k] = values[part, k] >= trust.best_threshold(values[~part, k], gold[~part, k])
    right, either = (given & gold).sum(0), given.sum(0) + gold.sum(0)
    return {"f1": float(ratio(2 * right.sum(), either.sum())), "macro_f1": float(ratio(2 * right, either).mean())}


def _unsure(tuned: Tuned, scores: Any, right: Any, half: Any) -> dict[str, Any]:
    """Return how precise the answers are of which the model is sure, and how many they are."""
    sure = scores >= tuned.abstain_below if tuned.abstain_below is not None else np.zeros(len(scores), bool)
    precision, coverage = float(right[sure].mean()) if sure.any() else None, float(sure.mean())
    if half is not None:
        precision, coverage = trust.cross_thresholded(scores, right, half, tuned.precision or 0.0)
    return {"below": tuned.abstain_below, "precision_wanted": tuned.precision, "precision": precision, "coverage": coverage}
