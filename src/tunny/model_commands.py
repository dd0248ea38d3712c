"""The commands on finished models, one function each: evaluate, predict, export, trim, bench, push."""

import contextlib
import csv
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

from tunny.config import FileSettings
from tunny.core import hub
from tunny.core.console import choice, progress, say
from tunny.core.errors import ConfigError, DataError, ModelError
from tunny.core.files import digest_file, write_text
from tunny.core.page import render, table
from tunny.core.signals import watch_signals
from tunny.core.version import versions
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.find import find_files, require_other_file
from tunny.data.labels import given_names
from tunny.data.prepare import Split, encode_splits, read_splits
from tunny.data.read import read
from tunny.data.settings import DataSettings
from tunny.evaluation.folder import About, evaluate_to, require_own, say_scores
from tunny.evaluation.layouts import check_layout
from tunny.evaluation.output import output_format, write_predictions
from tunny.evaluation.predict import encoded_chunks
from tunny.evaluation.score import score
from tunny.ship.bench import TOGETHER, measure
from tunny.ship.folder import VARIANTS, own_kind, refuse_own, write_facts
from tunny.ship.predictor import Predictor, load
from tunny.tasks.model import locate

SAMPLE = Path(__file__).parent / "samples" / "ferry" / "validation.csv"


def evaluate(model: str, data: list[str], out: str, given: FileSettings, layout: str | None = None) -> dict[str, float | None]:
    """Score a model folder on labelled data, write an evaluation folder and return the metrics (`tunny evaluate`)."""
    folder = Path(out).absolute()
    require_own(folder)
    for pattern in data:
        find_files(pattern)
    with watch_signals():
        if own_kind(model):
            if layout is not None:
                raise ConfigError("--layout: is for Tunny's own tasks. Leave it out.")
            metrics: dict[str, float | None] = _own().evaluate(model, data, folder, given)
            return metrics
        predictor = load(model, engine=given.engine, task=given.task)
        check_layout(layout, predictor.task.labels.kind)
        settings = predictor.reading(given.data)
        split = _read_for(predictor, data, settings)
        about = About(
            ", ".join(split.names), model, ", ".join(data), split.audit, split.names,
            page={"environment": versions(), "reproduce": [f"tunny evaluate {model} {' '.join(data)} --out {out}"]}, layout=layout,
        )  # fmt: skip
        scores = evaluate_to(folder, predictor.model, predictor.task, encoded_chunks(split), about)
        say_scores("evaluation", scores, Path(out) / "report.html")
        return scores.metrics


def _own() -> Any:
    """Return the module of users' tasks, which needs torch."""
    from tunny import own

    return own


def _read_for(predictor: Predictor, data: list[str], settings: DataSettings) -> Split:
    """Read and encode labelled data with the labels of a model; a label that the model does not know is never right."""
    labels = predictor.task.labels
    dataset = read_splits({"data": data}, {"data": settings}, labels.kind, labels)
    split = encode_splits(dataset, predictor.encoder).splits["data"]
    known = labels.in_data
    for name, count in split.label_counts.items():
        if labels.kind != "regress" and name not in known:
            split.audit.event("labels the model does not know", name, f"{count} times; counted as errors")
    split.audit.add(dataset.audit)
    say("\n".join(split.audit.told("data")))
    return split


def predict(model: str, source: str, out: str, to: str | None, given: FileSettings) -> int:
    """Label a file of any readable format, or standard input, and write the predictions (`tunny predict`)."""
    form = output_format(to, out)
    with watch_signals(), _as_file(source) as path:
        find_files(path)
        require_other_file(out, path)
        if own_kind(model):
            if form != "jsonl":
                raise ConfigError(f"--to {form}: predictions of a task of your own are written as jsonl, one line a row")
            return int(_own().predict(model, path, out, given))
        predictor = load(model, engine=given.engine, task=given.task)
        audit = Audit()
        settings = predictor.reading(given.data)
        examples = read([path], settings, predictor.task.labels.kind, audit, names=given_names(settings), labels_needed=False)
        answered = progress(predictor.answers(examples, audit), "predicting", unit="texts")
        answers = ((example, answer.prediction) for example, answer in answered)
        version = _version(model) if form == "label-studio" else ""
        count = write_predictions(out, form, answers, predictor.task.labels.kind, audit, model_version=version, control=settings.control)
        say("\n".join(audit.told("input")))
        say(f"predictions: {out if out != '-' else 'standard output'} ({count:,} {form} records)")
        return count


def _version(model: str) -> str:
    """Return the name by which a model's predictions are known: its folder's, or its run's, and the start of its weights' digest."""
    folder = Path(locate(model)).absolute()
    name = model if not Path(model).expanduser().is_dir() else folder.parent.name if folder.name == "model" else folder.name
    weights = folder / "model.safetensors"
    return f"{name}-{digest_file(weights)[:8]}" if weights.is_file() else model


@contextlib.contextmanager
def _as_file(source: str) -> Iterator[str]:
    """Yield the path of the source; standard input is copied to a temporary file, as readers look twice."""
    if source != "-":
        yield source
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield str(path)


def export(model: str, to: str, wanted: Sequence[str], data: Sequence[str], max_drop: float, given: FileSettings) -> None:
    """Write a model's exported variants into its folder (`tunny export`).

    Raises ModelError at the end where a variant was refused; the others stay.
    """
    from tunny.ship.export import Exporter, of_every_length, packages

    if to != "onnx":
        raise ConfigError(f"--to: expected onnx, found {to!r}")
    if wanted and not data:
        raise ConfigError(f"--{wanted[0]}: rounds the model's numbers; what that costs must be measured. Give labelled data: --data FILE")
    packages()
    with watch_signals():
        folder, reference, examples, scored = _open(model, data, given)
        texts = of_every_length(examples, reference.facts.encode.max_tokens)
        exporter = Exporter(reference, folder, texts, scored, scored(reference) if scored else None, max_drop)
        made, refused = {"fp32": exporter.write("fp32")}, []
        for name in wanted:
            try:
                made[name] = exporter.write(name)
            except ModelError as error:
                refused.append(str(error))
        facts = replace(reference.facts, variants={**reference.facts.variants, **{name: row for name, (_, row) in made.items()}})
        predictors = {"torch": reference, **{name: predictor for name, (predictor, _) in made.items()}}
        shown = _measured(folder, predictors, facts.variants, exporter.before, examples)[0]
        page = {"variants": shown, "facts": facts, "notes": [f"{name}{row['note']}" for name, (_, row) in made.items() if row["note"]]}
        write_text(folder / "onnx" / "README.md", render("onnx.md", page))
        write_facts(folder, facts, reference.encoder.tokenizer)
    if refused:
        raise ModelError("\n".join(refused))


def trim(model: str, data: Sequence[str], out: str | None, given: FileSettings) -> None:
    """Write a model with only the vocabulary that texts like those of the data need (`tunny export --trim-vocabulary`)."""
    from tunny.ship.trim import trim

    if not data or out is None:
        raise ConfigError("expected --trim-vocabulary DATA and --out FOLDER together; ONNX files go into the model's own folder")
    for pattern in data:
        find_files(pattern)
    with watch_signals():
        trim(model, data, Path(out), given.data, given.engine, given.task)


def bench(model: str, data: Sequence[str], max_drop: float, given: FileSettings) -> str:
    """Choose the fastest variant of a model within the allowed drop here (`tunny bench`) and return its name.

    Without data the drop is that of the export; OpenVINO's is none where its logits are torch's within the tolerance of fp32.
    """
    from tunny.ship.export import TOLERANCE, difference, of_every_length

    with watch_signals():
        folder, reference, examples, scored = _open(model, data, given)
        predictors, device = {"torch": reference}, reference.model.device
        by_openvino = device == "cpu" and importlib.util.find_spec("openvino") is not None
        for name in (name for name, file in VARIANTS.items() if (folder / file).is_file() and (name != "openvino" or by_openvino)):
            engine = given.engine.model_copy(update={"variant": name, "device": device})
            predictors[name] = load(folder, engine=engine, task=given.task)
        if len(predictors) == 1:
            raise ModelError(f"{model}: has no exported variants to choose from. Make some: tunny export {model} --to onnx")
        scores = {name: scored(one) for name, one in predictors.items()} if scored else {}
        again = {name: {"score": one, "drop": 100 * (scores["torch"] - one)} for name, one in scores.items()}
        known = dict(reference.facts.variants)
        if "openvino" in predictors:
            gap = difference(reference, predictors["openvino"], of_every_length(examples, reference.facts.encode.max_tokens))
            known["openvino"] = {"difference": gap, **({"drop": 0.0} if gap <= TOLERANCE else {})}
        rows = {name: {**known.get(name, {}), **again.get(name, {})} for name in predictors}
        rates = _measured(folder, predictors, rows, scores.get("torch"), examples)[1]
        for name, row in rows.items():
            if name != "torch" and row.get("drop", float("inf")) > max_drop:
                lost = (
                    f"loses {row['drop']:.2f} points, allowed are {max_drop:g} (--max-drop)"
                    if "drop" in row
                    else "has no score; give --data"
                )
                say(f"{name}: not considered, as it {lost}")
                del rates[name]
        best = max(rates, key=lambda name: rates[name])
        choice("variant", best, f"the fastest here in batches of {TOGETHER}, among {', '.join(rates)}; tunny.load and predict use it")
        chosen = {**reference.facts.chosen, device.partition(":")[0]: best}
        write_facts(folder, replace(reference.facts, chosen=chosen), reference.encoder.tokenizer)
    return best


def push(model: str, repo: str, *, public: bool = False, update: bool = False) -> str:
    """Put a model folder on the Hub, private unless `public`, and return the address of its commit (`tunny push`)."""
    folder = Path(model).expanduser()
    refuse_own(folder)
    hub.require_model(folder)
    with watch_signals():
        hub.create(repo, public=public, update=update)
        address = hub.upload(folder, repo, "Push a model")
    say(f"pushed: {address}")
    return address


def _open(
    model: str, data: Sequence[str], given: FileSettings
) -> tuple[Path, Predictor, list[Example], Callable[[Predictor], float] | None]:
    """Return a model's folder, the model in torch, examples to compare and measure with, and what scores on the data, if there is any."""
    for pattern in data:
        find_files(pattern)
    folder = Path(locate(model))
    if not folder.is_dir():
        raise ModelError(f"{model}: expected a model folder, into which variants can be written")
    reference = load(folder, engine=given.engine.model_copy(update={"variant": "torch"}), task=given.task)
    if not data:
        with SAMPLE.open(encoding="utf-8", newline="") as file:
            return folder, reference, [Example(row["id"], row["text"]) for row in csv.DictReader(file)], None
    split, metric = _read_for(reference, list(data), reference.reading(given.data)), reference.task.metric

    def scored(predictor: Predictor) -> float:
        found = score(predictor.model, predictor.task, encoded_chunks(split)).metrics[metric]
        if found is None:
            raise DataError(f"{', '.join(data)}: has no {metric}, by which variants are judged: too few labels. Give more labelled data.")
        return found

    return folder, reference, list(islice(split.examples, 200)), scored


def _measured(
    folder: Path, predictors: Mapping[str, Predictor], rows: Mapping[str, Mapping[str, Any]], before: float | None,
    examples: Sequence[Example],
) -> tuple[str, dict[str, float]]:  # fmt: skip
    """Measure variants, say and return a table of them, and return the texts a second of each in batches."""
    speeds, cells = measure(predictors, examples), []
    reference = predictors["torch"]
    head = [
        "variant", reference.task.metric, "loses", "logits differ", "MB", "p50 ms", "p95 ms", "texts/s alone", f"in batches of {TOGETHER}",
    ]  # fmt: skip
    for name, speed in speeds.items():
        row = {"score": before, **rows.get(name, {})}
        size = sum(file.stat().st_size for file in folder.glob(VARIANTS.get(name, "*.safetensors")))
        forms = (("score", "{:.4f}"), ("drop", "{:.2f}"), ("difference", "{:.1e}"))
        numbers = ["-" if row.get(what) is None else form.format(row[what]) for what, form in forms]
        shown = f"torch, {cast(Any, reference.model).compute.precision.name}" if name == "torch" else name
        cells.append([shown, *numbers, f"{size / 1e6:.1f}", *(f"{value:.1f}" for value in speed)])
    found = table(head, cells)
    say(found)
    return found, {name: speed.together for name, speed in speeds.items()}
