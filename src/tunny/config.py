"""All settings in one typed tree, and how it is put together: defaults < YAML < environment and .env < flags < --params."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from tunny.core.errors import ConfigError, did_you_mean
from tunny.core.settings import (
    Layer,
    Resolved,
    Settings,
    describe,
    dump_yaml,
    environment_layer,
    flag_layer,
    params_layer,
    read_environment,
    resolve,
    yaml_layer,
)
from tunny.data.settings import DataSettings, EncodeSettings, resolve_path
from tunny.engine.settings import EngineSettings
from tunny.tasks.settings import ModelSettings, TaskSettings
from tunny.training.settings import CheckpointSettings, TrackSettings, TrainSettings

KINDS = ("ner", "pos", "chunk", "classify", "multilabel", "regress")
TRACKERS = ("tensorboard",)


class EvaluateSettings(Settings):
    """Scoring."""

    max_examples: int | None = Field(None, ge=1, description="most examples of each validation and test set, from its start")


class Config(Settings):
    """Everything a command can be told."""

    name: str = Field("tunny", min_length=1, description="name of the model, on its card")
    output_dir: str = Field("runs/tunny", min_length=1, description="run folder")
    seed: int = Field(42, ge=0, description="of the new head, the order of rows and dropout")
    task: TaskSettings
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    encode: EncodeSettings = EncodeSettings()
    train: TrainSettings = TrainSettings()
    engine: EngineSettings = EngineSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    track: TrackSettings = TrackSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


def load_config(
    path: str | Path | None = None, flags: Sequence[tuple[str, str | None]] = (), values: Mapping[str, Any] | None = None
) -> Resolved[Config]:
    """Return the resolved settings; raise ConfigError naming every problem with its place.

    `flags` are (name, value) pairs of the command line, `values` a nested mapping given in Python.
    """
    flags = list(flags)
    named = [value for key, value in flags if key == "config_path"]
    params = [value for key, value in flags if key == "params"]
    if named and path is None:
        path = named[-1]
    layers: list[Layer] = []
    if path is not None:
        layers.append(yaml_layer(Path(path)))
    if values is not None:
        layers.append(Layer(dict(values), {str(key): "config" for key in values}))
    variables = read_environment(Path())
    layers.append(environment_layer(variables))
    layers.append(flag_layer([(key, value) for key, value in flags if key not in ("config_path", "params")]))
    layers += [params_layer(value or "") for value in params]
    shorthands = {"task": lambda kind: {"kind": kind}, "track": _trackers}
    _check_kind(layers)
    resolved = resolve(Config, layers, shorthands, variables)
    return _with_paths(resolved, Path(path).parent if path is not None else None)


def _check_kind(layers: Sequence[Layer]) -> None:
    """Name the kinds where an unknown one was asked for: pydantic's own words for it are about unions."""
    for layer in layers:
        for key in ("task", "task.kind"):
            kind = layer.values.get(key)
            if isinstance(kind, str) and kind not in KINDS:
                raise ConfigError(
                    f"{layer.places[key]}: task: expected one of {', '.join(KINDS)}, found {kind!r}{did_you_mean(kind, KINDS)}"
                )


def _trackers(value: object) -> dict[str, Any]:
    names = value if isinstance(value, list) else [value]
    return {str(name): {} for name in names if name is not None}


def _with_paths(resolved: Resolved[Config], beside: Path | None) -> Resolved[Config]:
    """Take relative paths that exist only beside the config file from there, and keep data paths absolute in the saved copy."""
    config, written = resolved.settings, resolved.written

    def used(value: Any) -> Any:
        if isinstance(value, str):
            return resolve_path(value, beside)
        if isinstance(value, list):
            return [used(item) for item in value]
        return {key: used(item) for key, item in value.items()} if isinstance(value, dict) else value

    def kept(value: Any, source: Any) -> Any:
        if isinstance(value, str):
            return source if "${" in str(source) else str(Path(value).absolute())
        if isinstance(value, list):
            return [kept(item, from_) for item, from_ in zip(value, source, strict=True)]
        return {key: kept(item, source[key]) for key, item in value.items()} if isinstance(value, dict) else value

    names = ["train", "validation", "test"] + (["labels"] if isinstance(config.data.labels, str) else [])
    paths = {name: used(getattr(config.data, name)) for name in names}
    data = config.data.model_copy(update=paths)
    saved = {**written["data"], **{name: kept(value, written["data"][name]) for name, value in paths.items()}}
    return Resolved(config.model_copy(update={"data": data}), {**written, "data": saved})


def load_file_settings(flags: Sequence[tuple[str, str | None]]) -> tuple[DataSettings, EngineSettings]:
    """Return the `data` and `engine` settings that a command on files was given, from environment and flags."""
    resolved = load_config(flags=flags, values={"task": "ner"})
    return resolved.settings.data, resolved.settings.engine


def settings_table() -> list[tuple[str, str, str, str]]:
    """Return (name, type, default, meaning) of every setting."""
    return list(describe(Config))


def settings_markdown() -> str:
    """Return docs/config.md."""
    lines = ["# Settings", "", "Every setting with its type, default and meaning. Made by `make docs`; do not edit.", ""]
    lines += ["Precedence: defaults < YAML < `TUNNY__SECTION__KEY` in the environment or `.env` < flags (`--section.key value`)"]
    lines += ["< `--params '{\"--section.key\": value}'`. `task: ner` is short for `task: {kind: ner}`, `track: [tensorboard]` for"]
    lines += ["`track: {tensorboard: {}}`. `${VAR}` stands for a variable of the environment or `.env`."]
    section = None
    for name, kind, default, meaning in settings_table():
        head = name.rpartition(".")[0].partition(".")[0]
        if head != section:
            section = head
            lines += ["", f"## {head or 'Top level'}", "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        lines.append(f"| `{name}` | {kind.replace('|', 'or')} | `{default}` | {meaning} |")
    return "\n".join(lines) + "\n"


def write_docs() -> None:
    """Write docs/config.md to standard output."""
    sys.stdout.write(settings_markdown())


def saved_yaml(resolved: Resolved[Config]) -> str:
    """Return the resolved config as it is saved in a run."""
    return dump_yaml(resolved.written)
