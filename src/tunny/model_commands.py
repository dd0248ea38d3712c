"""The commands on finished models, one function each: export, trim, bench, push."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tunny.config import FileSettings
from tunny.core import hub
from tunny.core.console import choice, say
from tunny.core.errors import ConfigError, DataError, ModelError
from tunny.core.files import write_json, write_text
from tunny.core.page import render, table
from tunny.core.signals import watch_signals
from tunny.data.example import Example
from tunny.data.find import find_files
from tunny.evaluation.predict import encoded_chunks
from tunny.evaluation.score import score
from tunny.run import columns_of, read_for
from tunny.ship.bench import TOGETHER, measure
from tunny.ship.export import Exporter, of_every_length, packages
from tunny.ship.folder import MANIFEST, VARIANTS
from tunny.ship.predictor import Predictor, load
from tunny.tasks.model import locate

SAMPLE = Path(__file__).parent / "samples" / "ferry" / "validation.csv"


def export(model: str, to: str, wanted: Sequence[str], data: Sequence[str], max_drop: float, given: FileSettings) -> None:
    """Write a model's exported variants into its folder (`tunny export`).

    Raises ModelError at the end where a variant was refused; the others stay.
    """
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
        write_json(folder / MANIFEST, facts.to_json())
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

    Without data the drop is that of the export.
    """
    with watch_signals():
        folder, reference, examples, scored = _open(model, data, given)
        predictors = {"torch": reference}
        for name in (name for name, file in VARIANTS.items() if (folder / file).is_file()):
            predictors[name] = load(folder, engine=given.engine.model_copy(update={"variant": name}), task=given.task)
        if len(predictors) == 1:
            raise ModelError(f"{model}: has no exported variants to choose from. Make some: tunny export {model} --to onnx")
        scores = {name: scored(one) for name, one in predictors.items()} if scored else {}
        again = {name: {"score": one, "drop": 100 * (scores["torch"] - one)} for name, one in scores.items()}
        rows = {name: {**reference.facts.variants.get(name, {}), **again.get(name, {})} for name in predictors}
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
        chosen = {**reference.facts.chosen, reference.compute.device.type: best}
        write_json(folder / MANIFEST, replace(reference.facts, chosen=chosen).to_json())
    return best


def push(model: str, repo: str, *, public: bool = False, update: bool = False) -> str:
    """Put a model folder on the Hub, private unless `public`, and return the address of its commit (`tunny push`)."""
    folder = Path(model).expanduser()
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
    split, metric = read_for(reference, list(data), columns_of(reference, given.data)), reference.task.metric

    def scored(predictor: Predictor) -> float:
        found = score(predictor.model, predictor.task, encoded_chunks(split), predictor.compute).metrics[metric]
        if found is None:
            raise DataError(f"{', '.join(data)}: has no {metric}, by which variants are judged: too few labels. Give more labelled data.")
        return found

    return folder, reference, list(islice(split.examples, 200)), scored


def _measured(
    folder: Path,
    predictors: Mapping[str, Predictor],
    rows: Mapping[str, Mapping[str, Any]],
    before: float | None,
    examples: Sequence[Example],
) -> tuple[str, dict[str, float]]:
    """Measure variants, say and return a table of them, and return the texts a second of each in batches."""
    speeds, cells = measure(predictors, examples), []
    reference = predictors["torch"]
    head = [
        "variant",
        reference.task.metric,
        "loses",
        "logits differ",
        "MB",
        "p50 ms",
        "p95 ms",
        "texts/s alone",
        f"in batches of {TOGETHER}",
    ]
    for name, speed in speeds.items():
        row = {"score": before, **rows.get(name, {})}
        size = sum(file.stat().st_size for file in folder.glob(VARIANTS.get(name, "*.safetensors")))
        forms = (("score", "{:.4f}"), ("drop", "{:.2f}"), ("difference", "{:.1e}"))
        numbers = ["-" if row.get(what) is None else form.format(row[what]) for what, form in forms]
        shown = f"torch, {reference.compute.precision.name}" if name == "torch" else name
        cells.append([shown, *numbers, f"{size / 1e6:.1f}", *(f"{value:.1f}" for value in speed)])
    found = table(head, cells)
    say(found)
    return found, {name: speed.together for name, speed in speeds.items()}
