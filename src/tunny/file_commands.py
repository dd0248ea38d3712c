"""The commands on files, one function each: check, split, convert, init, compare. None of them loads torch unless it is asked
for lengths in tokens.
"""

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, get_args

from tunny.config import Config, FileSettings, split_settings
from tunny.core.console import choice, progress, say
from tunny.core.errors import ConfigError, DataError, ModelError, RunError
from tunny.core.files import TEMPORARY, new_folder, write_json, write_text
from tunny.core.page import render
from tunny.core.settings import Resolved
from tunny.core.signals import watch_signals
from tunny.data.audit import Audit
from tunny.data.check import check as find_everything
from tunny.data.check import lines
from tunny.data.encode import Encoder
from tunny.data.example import Example, Origin
from tunny.data.find import HUB, find_files, require_other_file, split_files
from tunny.data.labels import given_names
from tunny.data.prepare import Dataset, Split, read_splits
from tunny.data.raw import deal_rows, quoted
from tunny.data.read import FORMATS, find_kind, read, sources
from tunny.data.settings import TOKEN_KINDS, DataSettings, EncodeSettings, Kind
from tunny.data.source import Source
from tunny.data.split import SPLITS, check_ratios, deal, documents_of, report
from tunny.data.suspects import surplus
from tunny.data.write import FORMATS as WRITTEN
from tunny.data.write import write_examples
from tunny.evaluation.compare import compare_all, find_evaluation
from tunny.evaluation.compare import lines as compared

_ROLE = re.compile(r"(?<![a-z])(?:(?P<train>train)|(?P<validation>dev|val)|(?P<test>test))(?:ing|idation|el)?(?![a-z])", re.IGNORECASE)
CHECKED = ("audit.json", "check.html", "quarantine.jsonl")  # what a check leaves


def compare(evaluations: Sequence[str], part: str | None, out: str | None) -> dict[str, Any]:
    """Compare runs or evaluations of the same data (`tunny compare`); return the findings and write a page where one is asked for."""
    findings = compare_all([find_evaluation(name, part) for name in evaluations])
    for line in compared(findings):
        say(line)
    if out is not None:
        write_text(Path(out), render("compare.html", findings))
        say(f"report: {out}")
    return findings


def split(source: str, out: str, ratios: Sequence[float], seed: int, given: FileSettings) -> dict[str, Any]:
    """Deal the rows of a source to train, validation and test by document (`tunny split`); return the report."""
    folder = Path(out).absolute()
    _require_free(folder)
    if given.data.format.startswith("glue:") and Path(source).is_dir():
        raise DataError(f"{source}: GLUE's folders are split already. Name one of its files to split that.")
    check_ratios(ratios)
    with watch_signals():
        kind, settings = _kind(given, [source]), given.data
        audit = Audit()
        found = _sources([source], settings, kind)
        origins: list[Origin] = []

        def examples() -> Iterator[Example]:
            for example in progress(read([source], settings, kind, audit, names=given_names(settings)), "reading", unit="examples"):
                assert example.origin is not None
                origins.append(example.origin)
                yield example

        documents = documents_of(examples(), kind)
        dealt = deal(documents, ratios, seed)
        places = {origin: int(dealt[document]) for origin, document in zip(origins, documents.of_example, strict=True)}
        content = {**report(documents, dealt, ratios, seed), "kind": kind, "audit": audit.to_json()}
        with new_folder(folder, replace=True) as temporary:
            paths = deal_rows(found, places, temporary, SPLITS)
            write_json(temporary / "split.json", content)
        say("\n".join(audit.told("read")))
        for path, part in zip(paths, content["splits"].values(), strict=True):
            say(f"{folder / path.name}: {part['examples']:,} examples of {part['documents']:,} documents")
        return content


def convert(source: str, to: str, out: str, given: FileSettings) -> int:
    """Write the examples of a source in another format and say what that format cannot hold (`tunny convert`)."""
    require_other_file(out, source)
    with watch_signals():
        kind, settings = _kind(given, [source]), given.data
        audit, lost = Audit(), Audit()
        examples = progress(read([source], settings, kind, audit, names=given_names(settings)), "converting", unit="examples")
        count = write_examples(out, to, examples, kind, lost)
        say("\n".join([*audit.told("read"), *lost.lines("written")[1:]]))
        say(f"{out if out != '-' else 'standard output'}: {count:,} examples as {to}")
        return count


# -- check -------------------------------------------------------------------------------------------------------------


def check(
    files: Sequence[str], given: FileSettings | Resolved[Config], out: str, *, strict: bool = False, fix: str | None = None,
    with_model: str | None = None, folds: int | None = None, review: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Say everything that is worth knowing of labelled data (`tunny check`); return the findings.

    Rows that cannot be read are left out and listed unless `data.on_error` says otherwise. With `strict`, raises DataError
    where anything was left out. Labels that a model doubts, or models of `folds`, are listed too, and their rows go to `review`.
    """
    folder = Path(out).absolute()
    _require_free(folder, CHECKED)
    if fix is not None:
        _require_free(Path(fix).absolute())
    if (with_model is None) == (folds is None) and (folds, review) != (None, None):
        raise ConfigError("expected one of --with-model and --folds, by which labels are doubted; --review holds what they doubt")
    with watch_signals():
        predictor, given = (None, given) if with_model is None else _with_model(with_model, given)
        if isinstance(given, Resolved):
            config = given.settings
            kind, seed = config.task.kind, config.seed
            paths, settings = split_files(config.data), split_settings(config)
        else:
            kind, seed = _kind(given, files), 42
            paths = _roles(files, given.data) if given.data.split is None else {"train": list(files)}
            settings = dict.fromkeys(paths, given.data)
        settings = {name: _lenient(part) for name, part in settings.items()}
        if not paths:
            raise DataError("nothing to check: name files, or a config with data.train")
        if review is not None:
            for file in chain.from_iterable(paths.values()):
                require_other_file(review, file)
            if kind not in WRITTEN["label-studio"][0]:
                raise ConfigError(f"--review: Label Studio has no place for the labels of {kind}; check.html lists what is doubted")
        found = {name: _sources(some, settings[name], kind) for name, some in paths.items()}
        dataset = read_splits(paths, settings, kind, seed=seed)
        doubts, doubted = _doubts(dataset, given, predictor, folds) if predictor or folds else ([], None)
        loaded, encoder, problem = _tokenizer(given, predictor)
        findings = find_everything(dataset.splits, kind, encoder, dataset.read, doubted)
        findings["all"] = dataset.audit.to_json()
        if isinstance(given, Resolved):
            train = findings["splits"].get("train", {"tokens": 0, "examples": 0})
            findings["training"] = _training(given.settings, loaded, train["tokens"], train["examples"]) if loaded else {"problem": problem}
        with new_folder(folder, replace=True) as temporary:
            write_json(temporary / "audit.json", findings)
            write_text(temporary / "check.html", render("check.html", findings))
            write_text(temporary / "quarantine.jsonl", "".join(_unread(dataset, found)))
        say("\n".join(lines(findings)))
        if fix is not None:
            _fix(Path(fix).absolute(), dataset, found, kind)
        if review is not None:
            from tunny.evaluation.output import write_review

            say(f"review: {review} ({write_review(review, doubts, next(iter(settings.values())).control):,} tasks of Label Studio)")
        say(f"report: {folder / 'check.html'}")
        losses = sum(audit.losses for audit in _audits(dataset))
        if strict and losses:
            raise DataError(f"{losses:,} things were left out (--strict); {folder / 'audit.json'} says which and why")
        return findings


def _with_model(name: str, given: FileSettings | Resolved[Config]) -> tuple[Any, FileSettings | Resolved[Config]]:
    """Load a model; for files alone, settings that are not given are those that it learnt with."""
    from tunny.ship.predictor import load

    asked = given.settings if isinstance(given, Resolved) else given
    predictor = load(name, engine=asked.engine, task=asked.task)
    if isinstance(given, Resolved):
        return predictor, given
    return predictor, given.model_copy(update={"task": predictor.facts.task, "data": predictor.reading(given.data)})


def _doubts(dataset: Dataset, given: FileSettings | Resolved[Config], predictor: Any, folds: int | None) -> tuple[Any, dict[str, Any]]:
    """Return the doubts of a model, or of models of folds, and the same as findings."""
    from tunny import review

    if predictor is not None:
        doubts, by = review.model_doubts(predictor, dataset), "the one given"
    elif isinstance(given, Resolved) and folds:
        doubts, by = review.fold_doubts(given, dataset, folds), f"{folds} folds"
    else:
        raise ConfigError("--folds trains models: give a config, such as `tunny init` writes, instead of files")
    return doubts, review.described(doubts, dataset.splits, by)


def _audits(dataset: Dataset) -> list[Audit]:
    """Return the audits of all that was read."""
    return [*(part.audit for part in dataset.splits.values()), *([dataset.read] if dataset.read else [])]


def _lenient(settings: DataSettings) -> DataSettings:
    """Let bad rows be listed rather than stop the check, unless the user said what they are to do."""
    return settings if "on_error" in settings.model_fields_set else settings.model_copy(update={"on_error": "quarantine"})


def _roles(files: Sequence[str], settings: DataSettings) -> dict[str, list[str]]:
    """Return files, those of folders too, as splits by their names, where one is for training and all have a role; else all as one."""
    if settings.format.startswith("glue:") and len(files) == 1 and Path(files[0]).is_dir():
        return split_files(settings.model_copy(update={"train": files[0], "validation": files[0]}))
    each = [str(path) for file in files for path in (find_files(file) if Path(file).is_dir() else [file])]
    found: dict[str, list[str]] = {}
    for file in each:
        match = _ROLE.search(Path(file).name)
        found.setdefault(match.lastgroup if match and match.lastgroup else "data", []).append(file)
    if "train" not in found or "data" in found:
        return {"data": list(files)}
    choice("splits", "; ".join(f"{name} = {', '.join(names)}" for name, names in found.items()), "by the names of the files")
    return {name: found[name] for name in SPLITS if name in found}


def _tokenizer(given: FileSettings | Resolved[Config], predictor: Any) -> tuple[Any, Encoder | None, str]:
    """Return the tokenizer that a training would use and its encoder, for files alone the encoder of a model that is given; where
    they are not to be had, None and the reason, said.
    """
    from tunny.tasks.model import encoder_of, load_tokenizer
    from tunny.tasks.settings import ModelSettings

    settings = given.settings if isinstance(given, Resolved) else None
    if predictor is not None and settings is None:
        return None, predictor.encoder, ""
    try:
        loaded = load_tokenizer(settings.model if settings else ModelSettings(), weights=False)
        return loaded, encoder_of(loaded, settings.encode if settings else EncodeSettings()), ""
    except ModelError as error:
        say(f"lengths are given in words, not tokens: {error}")
        return None, None, str(error)


def _sources(paths: Sequence[str], settings: DataSettings, kind: Kind) -> list[Source]:
    return list(sources(paths, settings, kind, Audit(), given_names(settings), True))


def _unread(dataset: Dataset, found: Mapping[str, list[Source]]) -> Iterator[str]:
    """Yield every row that was left out as unreadable, with its reason."""
    for name, files in found.items():
        audit = dataset.read if name == "train" and dataset.read is not None else dataset.splits[name].audit
        yield from quoted(files, audit.rejected)


def _fix(folder: Path, dataset: Dataset, found: Mapping[str, list[Source]], kind: Kind) -> None:
    """Write the data without copies and with repaired spans, in its own format where that can be written; say what was left out."""
    with new_folder(folder, replace=True) as temporary, (temporary / "quarantine.jsonl").open("w", encoding="utf-8") as quarantine:
        quarantine.writelines(_unread(dataset, found))
        for name, dropped in surplus(dataset.splits).items():
            files = found.get(name) or found["train"]  # of which other splits were dealt out
            form = files[0].format
            form = form if kind in WRITTEN.get(form, ((),))[0] else "jsonl"  # what cannot be written in its own format
            target = temporary / f"{name.replace('/', '-')}.{FORMATS[form].ending}"
            origins: list[tuple[int, int, str]] = []
            lost = Audit()
            number = write_examples(str(target), form, _without(dataset.splits[name], dropped, origins), kind, lost)
            quarantine.writelines(quoted(files, origins))
            say(f"{folder / target.name}: {number:,} examples, {len(dropped):,} left out as copies")
            if form == "label-studio":
                say("  it holds the labels of this task alone; other controls, annotators and flags stay in the source")
            for line in lost.lines(name)[1:]:
                say(line)


def _without(split: Split, dropped: Mapping[int, str], origins: list[tuple[int, int, str]]) -> Iterator[Example]:
    """Yield the examples but those that are dropped, whose places and reasons go to `origins`."""
    for row, example in enumerate(split.examples):
        if row not in dropped:
            yield example
        elif example.origin is not None:
            origins.append((*example.origin, dropped[row]))


def _training(config: Config, loaded: Any, tokens: int, rows: int) -> dict[str, Any]:
    """Return about how long a training, all its runs, would take here and what memory it would want."""
    from tunny.training.estimate import estimate

    found = estimate(loaded, config.train, config.engine, tokens, rows, config.encode.max_tokens)
    found = replace(found, seconds=found.seconds * len(config.train.seeds or [config.seed]))
    minutes, gigabytes = found.seconds / 60, found.memory_bytes / 2**30
    say(f"training: about {minutes:,.1f} minutes on this {found.device} in {found.precision}, {gigabytes:.1f} GB of memory")
    return asdict(found)


# -- init --------------------------------------------------------------------------------------------------------------


def init(folder: str, files: Sequence[str], given: FileSettings) -> Path:
    """Write a commented config that fits the files (`tunny init`); return its path."""
    target = Path(folder).absolute() / "config.yaml"
    if target.exists():
        raise RunError(f"{target}: is there already. Choose another folder or remove it.")
    with watch_signals():
        kind = _kind(given, files)
        paths = _roles(files, given.data)
        paths = paths if "train" in paths else {"train": list(files)}
        dataset = read_splits(paths, dict.fromkeys(paths, _lenient(given.data)), kind)
        write_text(target, _config_for(kind, paths, dataset, given.data, target.parent))
        for part in dataset.splits.values():
            say("\n".join(part.audit.told(part.name)))
        say(f"{target}: written; next: tunny check {target}, then tunny train {target}")
        return target


def _config_for(kind: Kind, paths: dict[str, list[str]], dataset: Dataset, given: DataSettings, folder: Path) -> str:
    """Return a config as a person would begin with: windows by the lengths found, epochs by the number of examples."""
    train = dataset.splits["train"]
    lengths = sorted(len(example.text.split()) + len((example.text_b or "").split()) for example in islice(train.examples, 20_000))
    long = lengths[int(0.99 * (len(lengths) - 1))] * 1.5  # tokens a word, about
    near = {
        name: [file if file.startswith(HUB) or os.path.isabs(file) else os.path.relpath(file, folder) for file in files]
        for name, files in paths.items()
    }
    values = given.model_dump(mode="json", exclude_unset=True, exclude=set(SPLITS))
    about = {
        "kind": kind, "output_dir": f"runs/{folder.name}", "dataset": dataset, "notes": train.audit.notes,
        "paths": {name: json.dumps(files[0] if len(files) == 1 else files, ensure_ascii=False) for name, files in near.items()},
        "named": {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()},
        "labels": ", ".join(f"{name} {count}" for name, count in train.label_counts.most_common(30)),
        "bad": sum(len(audit.rejected) for audit in _audits(dataset)),
        "max_tokens": next((size for size in (128, 256) if long <= size), 512),
        "epochs": next((epochs for limit, epochs in ((1_000, 12), (5_000, 6), (50_000, 3)) if len(lengths) < limit), 2),
        "learning_rate": "5.0e-4" if kind in TOKEN_KINDS else "2.0e-4",
    }  # fmt: skip
    return render("config.yaml", about)


# -- shared ------------------------------------------------------------------------------------------------------------


def _kind(given: FileSettings, files: Sequence[str]) -> Kind:
    """Return the kind of task that was given, else the one that the first file is for."""
    if given.task is not None:
        return given.task.kind
    first = files[0]
    if given.data.format.startswith("glue:") and Path(first).is_dir():
        (first,) = split_files(given.data.model_copy(update={"train": first}))["train"]
    kind, reason = find_kind(first, given.data)
    choice("task", kind, f"{reason}; --task gives another of {', '.join(get_args(Kind))}")
    return kind


def _require_free(folder: Path, ours: Collection[str] = ()) -> None:
    """Refuse a folder that holds anything but an earlier check, where that may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: cannot be written: it is a file. Name a folder.")
    found = {path.name for path in folder.glob("*") if not path.name.startswith(TEMPORARY)}
    if found and not {"audit.json", "check.html"} <= found <= set(ours):
        raise RunError(f"{folder}: is not empty. Choose another folder, or remove it first so that nothing old is mixed with the new.")
