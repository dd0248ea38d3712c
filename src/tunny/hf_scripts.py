"""Hugging Face's run_ner.py, run_ner_no_trainer.py and run_glue.py as commands, which leave the files their users look for.

A thin translation: arguments become settings, and training, evaluating and predicting are those of all commands. Labels are in the
scripts' order: that of the data set's classes, else sorted, and a model's own where it has the same.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tunny import model_commands, run
from tunny.config import Config, FileSettings, load_config
from tunny.core.console import choice, say
from tunny.core.errors import ConfigError, RunError
from tunny.core.files import link, new_file, read_json, write_json, write_text
from tunny.core.hub import PLACE
from tunny.core.settings import Resolved
from tunny.data.audit import Audit
from tunny.data.read import class_names, read
from tunny.data.settings import TOKEN_KINDS, EncodeSettings, split_paths
from tunny.data.tags import tag_words, word_tags
from tunny.data.words import words_of
from tunny.engine.group import world_of
from tunny.hf_arguments import Arguments, read_words, understand
from tunny.tasks.model import load_tokenizer
from tunny.tasks.scoring import predicted_spans
from tunny.training.checkpoint import Checkpoints, broken
from tunny.training.folder import MANIFEST

DO = {"do_train": "train", "do_eval": "validation", "do_predict": "test"}
TESTED = ("validation", "test")
PREFIXED = ("bloom", "gpt2", "roberta", "deberta")  # kinds of models whose tokenizers are told to put a space before the first word
METRICS = {"token_accuracy": "accuracy", "matthews": "matthews_correlation", "spearman": "spearmanr"}  # what is called otherwise
SHOWN = {"cola": ["matthews"], "stsb": ["pearson", "spearman"], "mrpc": ["accuracy", "f1"], "qqp": ["accuracy", "f1"]}  # else accuracy
RESULTS = ("*_results.json", "trainer_state.json", "predict*.txt", "predictions*.jsonl")
MODEL = ("tunny.json", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md")  # the first says whose
Flags = Sequence[tuple[str, str | None]]


def run_ner(words: Sequence[str], flags: Flags) -> None:
    """Do what run_ner.py does, or run_ner_no_trainer.py where none of its --do_... is given (`tunny run-ner`)."""
    written = read_words(words)
    script = "run_ner" if not DO.keys().isdisjoint(written) else "run_ner_no_trainer"
    if script != "run_ner":
        choice("arguments", f"those of {script}.py", f"none of {', '.join(DO)} is given; it trains and evaluates")
    _run(understand(script, written), flags)


def run_glue(words: Sequence[str], flags: Flags) -> None:
    """Do what run_glue.py does (`tunny run-glue`)."""
    _run(understand("run_glue", read_words(words)), flags)


def _run(told: Arguments, flags: Flags) -> None:
    """Train in all processes that were started together; the rest is for the first one."""
    if told["token"]:
        os.environ["HF_TOKEN"] = told["token"]
    parts = _parts(told)
    wanted = {name: part for name, part in DO.items() if told[name]}
    if told.script == "run_ner_no_trainer":
        wanted = {name: part for name, part in DO.items() if part == "train" or part in parts}
    if not (wanted or told.problems):
        raise ConfigError(f"nothing to do: give one or more of {', '.join(f'--{name}' for name in DO)}")
    values, world = settings_of(told, parts, wanted), world_of(os.environ)
    if world.size > 1 and "do_train" not in wanted:
        raise ConfigError(f"{world.size} processes were started, and only --do_train is for several. Start one, without the launcher.")
    config = load_config(None, flags, values).settings
    folder, model = Path(config.output_dir), config.model.name
    if "do_train" in wanted:
        train = _ready(told, config, folder)
        resolved = load_config(None, flags, values | _fitted(told, config))
        train(resolved)
    if world.rank:
        return
    if "do_train" in wanted:
        for name in MODEL:  # the output folder is a model folder too
            with new_file(folder / name) as temporary:
                link(folder / "model" / name, temporary)
        say(f"model: its files stand in {folder} too, for from_pretrained")
        config, model = resolved.settings, str(folder / "model")
        _write_results(folder, "train", _write_state(told, config, folder))
    found: dict[str, Any] = {}
    for part in [part for part in parts if part.startswith("validation") and "do_eval" in wanted]:
        if part != "validation" or config.data.validation is None:  # else the training ended with it
            model_commands.evaluate(model, [parts[part]], str(folder / part), _reading(config, "validation"))
        end = part.removeprefix("validation")  # of mnli's second set
        found |= {f"{name}{end}": value for name, value in _scores(told, folder / part, "eval").items()}
    if found:
        _write_results(folder, "eval", found)
    for part in [part for part in parts if part.startswith("test") and "do_predict" in wanted]:
        _predict(told, config, model, parts[part], folder, part)


# -- from arguments to settings ----------------------------------------------------------------------------------------


def _parts(told: Arguments) -> dict[str, str]:
    """Return the data of each split that there is: files, or splits of a data set; mnli has two more, which end in _mm."""
    task = told["task_name"] if told.script == "run_glue" else None
    name, config = told["dataset_name"], told["dataset_config_name"]
    if task and not name:
        name, config = "nyu-mll/glue", task
    if not name:
        return {part: told[f"{part}_file"] for part in DO.values() if told[f"{part}_file"]}
    place = f"{name}/" if Path(name).is_dir() else f"hub:{name}{f':{config}' if config else ''}#"
    sides = {"": "_matched", "_mm": "_mismatched"} if task == "mnli" else {"": ""}
    return {"train": f"{place}train"} | {f"{part}{end}": f"{place}{part}{side}" for part in TESTED for end, side in sides.items()}


def settings_of(told: Arguments, parts: Mapping[str, str], wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings, by dotted names, that a script's arguments ask for; raise ConfigError for all that cannot be followed."""
    problems = [*told.problems]
    problems += [
        f"--{name}: needs {part} data. Give --{part}_file or --dataset_name." for name, part in wanted.items() if part not in parts
    ]
    source = "dataset_name" if told["dataset_name"] or told.script != "run_glue" else "task_name"
    files = [f"{part}_file" for part in DO.values() if told[source] and told[f"{part}_file"]]
    problems += [f"--{name}: --{source} {told[source]} names the data already. Leave one of the two out." for name in files]
    problems += [] if told["model_name_or_path"] else ["--model_name_or_path: expected a model: a folder, a Hub id, or embedded"]
    rows, times = told["per_device_train_batch_size"], told["gradient_accumulation_steps"]
    found: dict[str, Any] = {"engine.precision": "fp16" if told["fp16"] else "bf16" if told["bf16"] else "fp32", **told.settings}
    found |= {"data.train": parts.get("train"), "engine.micro_batch_limit": rows if times > 1 else None}
    found["train.batch_size"] = rows * times * world_of(os.environ).size
    most = {"train": told["max_train_samples"], "validation": told["max_eval_samples"], "test": told["max_predict_samples"]}
    found["data.max_examples"] = 100 if told["debug"] is True else {part: number for part, number in most.items() if number} or None
    found["train.max_steps"] = told["max_steps"] if (told["max_steps"] or -1) > 0 else told.settings.get("train.max_steps")
    if told.script == "run_glue":
        found["task.kind"] = "regress" if told["task_name"] == "stsb" else "classify"
    if told.script == "run_ner_no_trainer":
        found |= {"train.max_grad_norm": 0.0, "track": found["track"] if told["with_tracking"] else []}
        found["checkpoint.every_steps"] = None if told["checkpointing_steps"] == "epoch" else told["checkpointing_steps"]
    else:
        warmup = told["warmup_steps"]
        found |= {"train.warmup_ratio": warmup} if warmup < 1 else {"train.warmup_steps": int(warmup)}
    if told["lr_scheduler_type"] == "constant":  # which has no warm-up there
        found["train.warmup_steps"] = 0
    if told["push_to_hub"]:
        found["checkpoint.push"] = place = told["hub_model_id"] or ""
        problems += [] if PLACE.fullmatch(place) else [f"--push_to_hub: needs --hub_model_id OWNER/NAME, found {place or 'none'}"]
    if told["fp16"] and (told["use_cpu"] or not torch.accelerator.is_available()):
        problems.append("--fp16: is for GPUs. On a CPU give --bf16, or leave it out.")
    problems += ["--bf16, --fp16: give one of the two"] if told["bf16"] and told["fp16"] else []
    best, when = told["load_best_model_at_end"], told["eval_strategy"] or "no"
    if told["do_train"] and when != "no":
        metric = (told["metric_for_best_model"] or "loss").removeprefix("eval_").removeprefix("overall_")
        names = {theirs: ours for ours, theirs in METRICS.items() if ours != "token_accuracy" or told.script == "run_ner"}
        found |= {"data.validation": parts.get("validation"), "train.metric_for_best": names.get(metric, metric)}
        found["train.evaluate_every_steps"] = (told["eval_steps"] or told["logging_steps"]) if when == "steps" else None
        problems += [] if "validation" in parts else [f"--eval_strategy {when}: needs validation data. Give --validation_file."]
        if not best:
            choice("model", f"the best by {metric}", "it is kept where validation data is looked at; --eval_strategy no keeps the last")
    elif told["do_train"] and best:
        problems.append("--load_best_model_at_end: needs validation while training. Give --eval_strategy epoch or steps.")
    if problems:
        raise ConfigError("\n".join(problems))
    return {name: value for name, value in found.items() if value is not None}


def _fitted(told: Arguments, config: Config) -> dict[str, Any]:
    """Return the settings that only the model and all training rows can tell: windows, and labels in the script's order."""
    loaded, is_token, kind = load_tokenizer(config.model), config.task.kind in TOKEN_KINDS, config.task.kind
    limit = min(loaded.tokenizer.model_max_length, loaded.padding.positions or 1 << 30)
    room = told["max_length"] or told["max_seq_length"] or limit
    room = room if is_token else min(room, limit)
    found: dict[str, Any] = {"encode.prefix_space": is_token and loaded.config.model_type in PREFIXED}
    if room < 1 << 20:  # a tokenizer without a limit names a huge one
        found |= {"encode.max_tokens": room, "encode.stride": min(EncodeSettings().stride, room // 4)}
    if config.data.labels is not None or kind == "regress":
        return found
    files = split_paths(config.data.train)[""]
    names = class_names(files[0]).get(str(config.data.tags or f"{kind}_tags") if is_token else "label")
    if names is None:
        examples = read(files, config.data.model_copy(update={"max_examples": None}), kind, Audit())
        of_each = (word_tags(one, words_of(one), kind) if is_token else one.labels or () for one in examples)
        names = sorted({name for some in of_each for name in some if name is not None})
        if all(name.lstrip("-").replace(".", "", 1).isdecimal() for name in names):  # numbers
            if not is_token and any("." in name for name in names):
                return found | {"task.kind": "regress"}
            names = sorted(names, key=float)
    own = {str(name): number for number, name in loaded.config.id2label.items()}
    same = set(names) == set(own) and (is_token or told["task_name"])  # of classes in files run_glue.py keeps the order
    return found | {"data.labels": sorted(names, key=own.__getitem__) if same else names}


def _reading(config: Config, part: str) -> FileSettings:
    own = {"train": None, "validation": None, "max_examples": config.data.most_of(part)}
    return FileSettings(data=config.data.model_copy(update=own), engine=config.engine)


def _ready(told: Arguments, config: Config, folder: Path) -> Callable[[Resolved[Config]], Path]:
    """Return what trains into the output folder; raise an error where it would take the place of something that is wanted."""
    resumed, overwrite = told["resume_from_checkpoint"] or "false", told["overwrite_output_dir"]
    resume, is_run, restarted = resumed.lower() != "false", (folder / MANIFEST).exists(), run.restarted(folder)
    if config.train.seeds is not None:
        raise ConfigError("train.seeds: makes several models, and this command leaves one. Use tunny train.")
    # for the first process, which has the folder; a group that starts again has newer checkpoints than it was told of
    if resume and resumed.lower() != "true" and not (restarted or world_of(os.environ).rank):
        kept = [folder / "checkpoints" / f"step-{step}" for step in Checkpoints(folder / "checkpoints", 0, "").steps()]
        newest = next((path for path in reversed(kept) if broken(path) is None), folder)
        if Path(resumed).resolve() not in (folder.resolve(), newest.resolve()):
            raise ConfigError(
                f"--resume_from_checkpoint: a run goes on from its newest checkpoint. Expected true or {newest}, found {resumed}"
            )
    if is_run and not (resume or overwrite or restarted):
        raise RunError(
            f"{folder}: already holds a run. Give --resume_from_checkpoint true, --overwrite_output_dir, or another --output_dir."
        )
    theirs = [name for name in MODEL if (folder / name).exists()]
    if theirs and not (is_run and MODEL[0] in theirs):
        raise RunError(f"{folder}: holds {', '.join(theirs)}, which the model would replace. Choose another --output_dir.")
    return partial(run.train, resume=resume, overwrite=overwrite, before=partial(_clear, folder))


# -- what the scripts' users look for ----------------------------------------------------------------------------------


def _clear(folder: Path) -> None:
    """Remove what a former run left at the top of the folder, which a new one makes stale."""
    for path in [path for name in (*RESULTS, *reversed(MODEL)) for path in folder.glob(name)]:
        path.unlink()


def _write_state(told: Arguments, config: Config, folder: Path) -> dict[str, Any]:
    """Write trainer_state.json from what the run logged, and return the results of training."""
    ended, history, total, before = read_json(folder / MANIFEST), list[dict[str, Any]](), 0.0, 0
    for line in _lines(folder / "log.jsonl"):
        learnt = {name: line[f"train/{name}"] for name in ("loss", "learning_rate", "grad_norm") if f"train/{name}" in line}
        scores = _named(told, {name.partition("/")[2]: value for name, value in line.items() if name.startswith("validation/")}, "eval")
        history += [{"epoch": line["epoch"], "step": line["step"], **values} for values in (learnt, scores) if values]
        total, before = total + (learnt.get("loss") or 0.0) * (line["step"] - before), line["step"]
    samples = read_json(folder / "audit.json")["splits"]["train"]["flows"]["examples"]["kept"]
    write_json(folder / "trainer_state.json", {
        "best_metric": ended["best"], "best_global_step": ended["best_step"], "best_model_checkpoint": str(folder) if ended["best_step"] else None,
        "epoch": line["epoch"], "global_step": ended["steps"], "max_steps": ended["steps"], "num_train_epochs": config.train.epochs, "log_history": history,
    })  # fmt: skip
    seconds = max(line["time"], 1e-9)
    return {
        "epoch": line["epoch"], "train_loss": total / max(before, 1), "train_runtime": seconds, "train_samples": samples,
        "train_samples_per_second": samples * line["epoch"] / seconds, "train_steps_per_second": ended["steps"] / seconds,
    }  # fmt: skip


def _named(told: Arguments, metrics: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    of_tokens, whole = told.script != "run_glue", "overall_" if told["return_entity_level_metrics"] else ""
    of_texts = SHOWN.get(told["task_name"], ["mse" if "mse" in metrics else "accuracy"])
    names = ["precision", "recall", "f1", "token_accuracy"] if of_tokens else of_texts
    found = {METRICS.get(name, name): metrics[name] for name in names if metrics.get(name) is not None}
    both = {} if of_tokens or len(found) < 2 else {"combined_score": sum(found.values()) / len(found)}
    loss = {f"{prefix}_loss": metrics["loss"]} if metrics.get("loss") is not None else {}
    return {f"{prefix}_{whole}{name}": value for name, value in {**found, **both}.items()} | loss


def _scores(told: Arguments, evaluation: Path, prefix: str) -> dict[str, Any]:
    found = read_json(evaluation / "metrics.json")
    shown, speed = _named(told, found["metrics"], prefix), found["speed"]
    for label, row in found["per_label"].items() if told["return_entity_level_metrics"] else ():
        shown |= {f"{prefix}_{label}_{name.replace('support', 'number')}": row[name] for name in ("precision", "recall", "f1", "support")}
    shown |= {f"{prefix}_runtime": speed["seconds"], f"{prefix}_samples": found["examples"]}
    return shown | {f"{prefix}_samples_per_second": speed["examples_per_second"]}


def _write_results(folder: Path, part: str, results: Mapping[str, Any]) -> None:
    every = folder / "all_results.json"
    for path, former in ((folder / f"{part}_results.json", {}), (every, read_json(every) if every.exists() else {})):
        write_json(path, dict(sorted({**former, **results}.items())))


def _lines(path: Path) -> list[Any]:
    with path.open(encoding="utf-8") as file:  # whose lines end at line feeds alone; texts may hold other separators
        return [json.loads(line) for line in file]


def _predict(told: Arguments, config: Config, model: str, source: str, folder: Path, part: str) -> None:
    """Write the predictions for test data: of words a line a sentence, beside their scores; of texts their numbers and labels."""
    given, end = _reading(config, "test"), part.removeprefix("test")
    if told.script == "run_glue":
        file = folder / f"predictions{end}.jsonl"
        model_commands.predict(model, source, str(file), "jsonl", given)
        rows = _lines(file)
        lines = [f"{at}\t{row['label'] if 'label' in row else format(row['value'], '3.3f')}\n" for at, row in enumerate(rows)]
        write_text(folder / f"predict_results_{told['task_name']}{end.replace('_', '-')}.txt", "".join(["index\tprediction\n", *lines]))
        return
    model_commands.evaluate(model, [source], str(folder / part), given)
    _write_results(folder, "predict", _scores(told, folder / part, "predict"))
    rows = _lines(folder / part / "predictions.jsonl")
    examples = read([source], given.data, config.task.kind, Audit(), labels_needed=False)
    tags = (row.get("tags") or tag_words(predicted_spans(row), words_of(one)) for one, row in zip(examples, rows, strict=True))
    write_text(folder / "predictions.txt", "".join(" ".join(some) + "\n" for some in tags))
