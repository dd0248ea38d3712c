"""All settings in one typed tree, and how it is put together: defaults < YAML < environment and .env < flags < --params."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import Field, create_model

from tunny.core import settings as layers
from tunny.core.console import choice
from tunny.core.errors import ConfigError
from tunny.core.explain import describe, models_in, nearest
from tunny.core.page import render
from tunny.core.settings import Layer, Resolved, Settings
from tunny.data.find import HUB, split_files
from tunny.data.settings import UNLABELLED, DataSettings, EncodeSettings, resolve_path, split_paths
from tunny.engine.settings import EngineSettings
from tunny.tasks.settings import DistillSettings, ModelSettings, TaskSettings, is_own
from tunny.training.settings import CheckpointSettings, TrackSettings, TrainSettings


class EvaluateSettings(Settings):
    """Scoring."""

    max_examples: int | None = Field(None, ge=1, description="most examples of each validation and test set, from its start")
    precision: float | None = Field(
        None,
        gt=0.0,
        lt=1.0,
        description="precision wanted of what the model is sure of: other answers are marked unsure (by validation data)",
    )
    examples_in_card: bool = Field(
        True, description="show texts of the data on the model card, each cut at 60 characters; false where the data is private"
    )


class Config(Settings):
    """Everything a command can be told."""

    name: str = Field("tunny", min_length=1, description="name of the model, on its card")
    output_dir: str = Field("runs/tunny", min_length=1, description="run folder")
    seed: int = Field(42, ge=0, le=2**63 - 1, description="of the new head, the order of rows and dropout")
    task: TaskSettings
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    encode: EncodeSettings = EncodeSettings()
    train: TrainSettings = TrainSettings()
    engine: EngineSettings = EngineSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    track: TrackSettings = TrackSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    distill: DistillSettings | None = None


def _trackers(value: object, below: object) -> dict[str, Any]:
    """Return the section that a list of trackers is short for: the others are off, one's own of the layers below too."""
    names = value if isinstance(value, list) else [value]
    others = [*TrackSettings.model_fields, *(below if isinstance(below, dict) else ())]
    return {**dict.fromkeys(others), **{str(name): {} for name in names}}


SHORTHANDS = {"task": lambda kind, below: {"kind": kind}, "track": _trackers}


class FileSettings(Settings):
    """What a command on files can be told; `task` is for models that do not say it themselves."""

    task: TaskSettings | None = None
    data: DataSettings = DataSettings()
    engine: EngineSettings = EngineSettings()


M = TypeVar("M", Config, FileSettings)


def _with_own_task(tree: type[M], given: Sequence[Layer], allowed: bool) -> type[M]:
    """Return the tree with the settings of a user's task in it, where the layers name one: they are checked as ours are."""
    kinds = [
        value.get("kind") if isinstance(value, dict) else value
        for layer in given for key, value in layer.values.items() if key == "task.kind" or (key == "task" and value is not None)
    ]  # fmt: skip
    kind = next((kind for kind in reversed(kinds) if kind is not None), None)
    if not (isinstance(kind, str) and is_own(kind)):
        if isinstance(kind, str) and "." in kind:
            raise ConfigError(f"task.kind: a class of your own is named with a colon, package.module:Class; found {kind!r}")
        return tree
    if not allowed:
        raise ConfigError(f"task.kind: {kind} is a task of your own; only train, prepare, evaluate and predict take one")
    from tunny.tasks.own import settings_of  # torch, which other configs need not load

    section: Any = settings_of(kind, whole=tree is Config)
    wanted: Any = (section, ...) if tree is Config else (section | None, None)
    return create_model(tree.__name__, __base__=tree, task=wanted)


def load_config(
    path: str | Path | None = None, flags: Sequence[tuple[str, str | None]] = (), values: Mapping[str, Any] | None = None, *,
    own: bool = True,
) -> Resolved[Config]:  # fmt: skip
    """Return the resolved settings; raise ConfigError naming every problem with its place.

    `flags` are (name, value) pairs of the command line, `values` a nested mapping given in Python; `own`: whether a user's task may be named.
    """
    flags = list(flags)
    named = [value for key, value in flags if key == "config_path"]
    params = [value for key, value in flags if key == "params"]
    if None in named:
        raise ConfigError("command line --config_path: expected a file")
    if named and path is not None:
        raise ConfigError(f"command line --config_path: the config is {path} already; name one")
    path = named[-1] if named else path
    given: list[Layer] = []
    if path is not None:
        given.append(layers.yaml_layer(Path(path)))
    if values is not None:
        given.append(Layer({str(key): value for key, value in values.items()}, {str(key): "config" for key in values}))
    variables = layers.read_environment(Path())
    given.append(layers.environment_layer(variables))
    given.append(layers.flag_layer([(key, value) for key, value in flags if key not in ("config_path", "params")]))
    given += [layers.params_layer(value or "") for value in params]
    resolved = layers.resolve(_with_own_task(Config, given, own), given, SHORTHANDS, variables)
    beside = None if path is None else Path(path) if Path(path).is_dir() else Path(path).parent
    above = {name for layer in given[1:] for name, _ in layers.flat(layer.values)}
    return _with_student(_with_paths(resolved, beside, above))


def _with_paths(resolved: Resolved[Config], beside: Path | None, above: Collection[str]) -> Resolved[Config]:
    """Take relative paths that exist only beside the config file from there, and keep data paths absolute in the saved copy.

    `above` are the settings that were given elsewhere than in the file, whose paths are clear to who gave them: of the current folder first.
    """
    config, saved = resolved.settings, dict(resolved.written)
    names = {"data": ["train", "validation", "test"], "model": ["name", "tokenizer"]}
    names["data"] += ["labels"] if isinstance(config.data.labels, str) else []
    names |= {"distill": ["teacher", "student", "unlabelled"]} if config.distill else {}
    for section, some in names.items():
        old = getattr(config, section)
        paths = {}
        for name in some:
            by = f"{section}.{name}"
            by = "" if any(f"{one}.".startswith(f"{by}.") for one in above) else by
            paths[name] = _each(getattr(old, name), partial(resolve_path, beside=beside, named_by=by))
        if section != "data":  # others are Hub ids
            paths = {name: path for name, path in paths.items() if name == "unlabelled" or (path and Path(path).is_dir())}
        config = config.model_copy(update={section: old.model_copy(update=paths)})
        saved[section] = saved[section] | layers.keep_written(_each(paths, _absolute), saved[section])
    return Resolved(config, saved)


def _with_student(resolved: Resolved[Config]) -> Resolved[Config]:
    """Start from the student of a distillation, or from the teacher that it is made of, whatever model is named."""
    config, written = resolved.settings, resolved.written
    if config.distill is None:
        return resolved
    name = config.distill.student or config.distill.teacher
    if config.model.name not in (ModelSettings().name, name):
        choice("student", f"made of {name}", f"model.name, {config.model.name}, is for training without a teacher")
    model = config.model.model_copy(update={"name": name})
    saved = {**written["model"], "name": written["distill"]["student"] or written["distill"]["teacher"]}
    return Resolved(config.model_copy(update={"model": model}), {**written, "model": saved})


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """Return a value with every text in it changed."""
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _absolute(path: str) -> str:
    return path if path.startswith(HUB) else str(Path(path).absolute())


def split_settings(config: Config) -> dict[str, DataSettings]:
    """Return the reading settings of each split: evaluation may take fewer examples."""
    found = {}
    for name in all_files(config):
        limits = [config.data.most_of(name.partition("/")[0]), None if name == "train" else config.evaluate.max_examples]
        least = min([limit for limit in limits if limit is not None], default=None)
        bare = {"format": "auto", "max_examples": None, "language": None, "group_by": None}
        found[name] = config.data.model_copy(update=bare if name == UNLABELLED else {"max_examples": least})
    return found


def all_files(config: Config) -> dict[str, list[str]]:
    """Return the files of each split, and those of texts without labels that a student learns from."""
    texts = split_paths(config.distill.unlabelled if config.distill else None)
    return split_files(config.data) | ({UNLABELLED: texts[""]} if texts else {})


def require_data(config: Config) -> None:
    """Raise ConfigError where there is nothing to learn from."""
    if config.data.train is None:
        raise ConfigError("settings: 'data.train' is required; give --data.train FILE or set it in the config")


def require_validation(config: Config) -> None:
    """Raise ConfigError for each setting that asks something of validation data where there is none."""
    asking = ("early_stopping_patience", "metric_for_best", "evaluate_every_steps")
    asked = [name for name in asking if getattr(config.train, name) is not None]
    if asked and config.data.validation is None and not (config.data.split and config.data.split.validation):
        what = "needs validation data, and there is none. Set data.validation or data.split.validation, or leave it out."
        raise ConfigError("\n".join(f"train.{name}: {what}" for name in asked))


def load_file_settings(
    flags: Sequence[tuple[str, str | None]] = (), columns: Mapping[str, Any] | None = None, *, own: bool = False
) -> FileSettings:
    """Return the settings of a command on files, from Python's `columns`, environment and flags; `own` where it takes a user's task."""
    variables = layers.read_environment(Path())
    environment = layers.environment_layer(
        {name: value for name, value in variables.items() if name.startswith(("TUNNY__DATA__", "TUNNY__ENGINE__"))}
    )
    python = Layer({"data": dict(columns or {})}, {"data": "arguments"})
    params = [layers.params_layer(value or "") for key, value in flags if key == "params"]
    given = [python, environment, layers.flag_layer([flag for flag in flags if flag[0] != "params"]), *params]
    found = layers.resolve(_with_own_task(FileSettings, given, own), given, SHORTHANDS, variables).settings
    if isinstance(found.data.max_examples, dict):
        raise ConfigError("data.max_examples: expected a number; a mapping is for the splits of a training")
    return found


def settings_table(tree: type[Config] = Config) -> list[tuple[str, str, str, str]]:
    """Return (name, type, default, meaning) of every setting."""
    return list(describe(tree))


def suggest_flag(option: str) -> str:
    """Return which settings an unknown option of the command line may stand for."""
    return nearest(option.lstrip("-"), Config)


def settings_schema(tree: type[Config] = Config) -> dict[str, Any]:
    """Return the JSON schema of a config file, its short forms included."""
    schema = tree.model_json_schema()
    kinds = [kind for model in models_in(TaskSettings) for kind in get_args(model.model_fields["kind"].annotation)]
    trackers = {"anyOf": [{"enum": list(TrackSettings.model_fields)}, {"type": "string", "pattern": ":"}]}
    short: dict[str, list[Any]] = {"task": [{"enum": kinds}], "track": [trackers, {"type": "array", "items": trackers}]}
    for name, forms in short.items():
        schema["properties"][name] = {"anyOf": [*forms, schema["properties"][name]]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def settings_markdown(tree: type[Config] = Config) -> str:
    """Return docs/config.md, or the same of a config with a task of one's own."""
    return render("settings.md", {"settings": settings_table(tree)})


def changed_settings(resolved: Resolved[Config]) -> dict[str, Any]:
    """Return the settings that are not the defaults, as they were written, without what is a place on a machine."""
    files = {"data": {"train", "validation", "test", "labels"}, "model": {"name", "tokenizer"}}
    files["distill"] = {"teacher", "student", "unlabelled"}
    places: Any = {**files, "name": True, "output_dir": True, "track": True}
    tree = resolved.settings.model_dump(mode="json", exclude_defaults=True, exclude=places)
    return {name: value for name, value in layers.keep_written(tree, resolved.written).items() if value != {}}


def saved_yaml(resolved: Resolved[Config]) -> str:
    """Return the resolved config as it is saved in a run."""
    return layers.dump_yaml(resolved.written)
