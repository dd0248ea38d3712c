"""Reads layers of settings (YAML, environment, flags) into one typed tree and reports every problem with its place.

What the settings are is decided by the pydantic models of each room; this file only knows dotted names. Layers come
in rising precedence. Each value keeps the place it came from, so that a message can name a file and a line, a variable or
a flag. `${VAR}` is expanded for use; `Resolved.written` keeps what was written.
"""

import json
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, Union

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tunny.core.errors import ConfigError, did_you_mean

M = TypeVar("M", bound=BaseModel)
_VARIABLE = re.compile(r"\$\{(\w+)\}")


class Settings(BaseModel):
    """The root of every settings class: frozen, no unknown keys, numbers accepted where text is asked for."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, protected_namespaces=())


@dataclass(frozen=True)
class Layer:
    """Dotted names with values, and the place of each for messages."""

    values: dict[str, Any]
    places: dict[str, str]
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Resolved(Generic[M]):
    """Settings ready for use, beside the same tree with `${VAR}` as written."""

    settings: M
    written: dict[str, Any]


# -- layers ------------------------------------------------------------------------------------------------------------


def yaml_layer(path: Path) -> Layer:
    """Read a YAML file (of a folder: its only one), keeping the line of every value."""
    if path.is_dir():
        inside = sorted([*path.glob("*.yaml"), *path.glob("*.yml")])
        if len(inside) != 1:
            raise ConfigError(f"{path}: expected one YAML file in this folder, found {len(inside)}. Name the file.")
        path = inside[0]
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file")
    try:
        text = path.read_text("utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x} at {error.start}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    layer = Layer({}, {})
    if node is None:
        return layer
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}:1: expected settings as 'name: value', found a {node.tag.rsplit(':', 1)[-1]}")
    _flatten(node, "", path.name, layer)
    return layer


def _flatten(node: yaml.MappingNode, prefix: str, name: str, layer: Layer) -> None:
    constructor = yaml.SafeLoader("")
    for key_node, value_node in node.value:
        key = f"{prefix}{constructor.construct_object(key_node, deep=True)}"
        place = f"{name}:{key_node.start_mark.line + 1}"
        if key in layer.places:
            layer.problems.append(f"{place}: '{key}' is set twice; the first time at {layer.places[key]}")
        layer.places[key] = place
        if isinstance(value_node, yaml.MappingNode) and value_node.value:
            _flatten(value_node, f"{key}.", name, layer)
        else:
            layer.values[key] = constructor.construct_object(value_node, deep=True)


def environment_layer(environ: Mapping[str, str], prefix: str = "TUNNY__") -> Layer:
    """Take `TUNNY__SECTION__KEY=value` from the environment."""
    layer = Layer({}, {})
    for variable in sorted(environ):
        if variable.startswith(prefix):
            key = variable.removeprefix(prefix).lower().replace("__", ".")
            layer.values[key] = parse_value(environ[variable])
            layer.places[key] = f"environment {variable}"
    return layer


def dotenv(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines of a `.env` file; comments, `export` and quotes are understood."""
    found: dict[str, str] = {}
    if not path.is_file():
        return found
    for line in path.read_text("utf-8-sig").splitlines():
        match = re.match(r"\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*$", line)
        if match:
            name, value = match.groups()
            quoted = re.match(r"(['\"])(.*)\1\s*(?:#.*)?$", value)
            found[name] = quoted.group(2) if quoted else re.sub(r"\s+#.*$", "", value)
    return found


def flag_layer(flags: Sequence[tuple[str, str | None]]) -> Layer:
    """Take `(name, value)` pairs of the command line; a flag without a value is `true`."""
    layer = Layer({}, {})
    for key, value in flags:
        layer.values[key] = True if value is None else parse_value(value)
        layer.places[key] = f"command line --{key}"
    return layer


def params_layer(text: str) -> Layer:
    """Take PyMarlin's `--params '{"--section.key": value}'`; the dashes may be left out."""
    try:
        params = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"--params: not valid JSON: {error}") from error
    if not isinstance(params, dict):
        raise ConfigError('--params: expected a JSON object such as {"--train.epochs": 3}')
    values = {key.removeprefix("--"): value for key, value in params.items()}
    return Layer(values, {key: f"--params {key}" for key in values})


def parse_value(text: str) -> Any:
    """Read one value as YAML does: numbers, true and false, null, [lists], {mappings}; anything else is text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else text


# -- the tree ----------------------------------------------------------------------------------------------------------


def resolve(model: type[M], layers: Sequence[Layer], shorthands: Mapping[str, Any], variables: Mapping[str, str]) -> Resolved[M]:
    """Merge the layers, expand `${VAR}`, validate, and return the typed tree.

    `shorthands` maps a top-level name to a function from its short value to its mapping. Raises ConfigError with one
    line for every problem found.
    """
    written: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for layer in layers:
        problems += layer.problems
        places.update(layer.places)
        for key, value in layer.values.items():
            if key in shorthands and not isinstance(value, dict):
                value = shorthands[key](value)
            problems += _place(written, key, value, layer.places[key])
    expanded, missing = _expand(written, variables, "")
    problems += [f"{_where(places, key)}: ${{{name}}} is not set in the environment or .env" for key, name in missing]
    settings: M | None = None
    try:
        settings = model.model_validate(expanded)
    except ValidationError as error:
        problems += _explain(error, model, places)
    if problems or settings is None:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return Resolved(settings, _keep_written(settings.model_dump(mode="json"), written))


def _place(tree: dict[str, Any], key: str, value: Any, where: str) -> list[str]:
    """Put a value under its dotted key; mappings merge, anything else replaces."""
    *sections, last = key.split(".")
    here = tree
    for section in sections:
        if not isinstance(here.setdefault(section, {}), dict):
            here[section] = {}
        here = here[section]
    if isinstance(value, dict) and isinstance(here.get(last), dict):
        return [problem for inner, item in value.items() for problem in _place(here[last], str(inner), item, where)]
    if isinstance(here.get(last), dict) and here[last] and value is not None and not isinstance(value, dict) and not sections:
        return [f"{where}: '{key}' is a section; set its keys, for example --{key}.{next(iter(here[last]))}"]
    here[last] = value
    return []


def _expand(value: Any, variables: Mapping[str, str], at: str) -> tuple[Any, list[tuple[str, str]]]:
    missing: list[tuple[str, str]] = []
    if isinstance(value, str):
        missing += [(at, name) for name in _VARIABLE.findall(value) if name not in variables]
        return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), value), missing
    if isinstance(value, dict):
        pairs = {key: _expand(item, variables, f"{at}.{key}".lstrip(".")) for key, item in value.items()}
        return {key: pair[0] for key, pair in pairs.items()}, [hole for pair in pairs.values() for hole in pair[1]]
    if isinstance(value, list):
        items = [_expand(item, variables, at) for item in value]
        return [item[0] for item in items], [hole for item in items for hole in item[1]]
    return value, missing


def _keep_written(resolved: Any, written: Any) -> Any:
    """Return the resolved tree with every text that held `${VAR}` as it was written."""
    if isinstance(resolved, dict) and isinstance(written, dict):
        return {key: _keep_written(value, written.get(key)) for key, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(written, list) and len(resolved) == len(written):
        return [_keep_written(value, source) for value, source in zip(resolved, written, strict=True)]
    return written if isinstance(written, str) and _VARIABLE.search(written) else resolved


def _where(places: Mapping[str, str], key: str) -> str:
    """Return the place of a key, or of the nearest section around it."""
    while key:
        if key in places:
            return places[key]
        key = key.rpartition(".")[0]
    return "settings"


def _explain(error: ValidationError, model: type[BaseModel], places: Mapping[str, str]) -> list[str]:
    known = [name for name, *_ in describe(model)]
    lines = []
    for problem in error.errors():
        key = _dotted(problem["loc"], places)
        if problem["type"] == "extra_forbidden":
            below = [place for name, place in places.items() if name == key or name.startswith(f"{key}.")]
            place = below[0] if below else _where(places, key)
            lines.append(f"{place}: unknown setting '{key}'{did_you_mean(key, known)}")
        elif problem["type"] == "missing":
            lines.append(f"settings: '{key}' is required; give --{key} or set it in the config")
        else:
            found = "" if isinstance(problem["input"], dict) else f" (found {problem['input']!r})"
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{_where(places, key)}: {key}: {message[0].lower()}{message[1:]}{found}")
    return lines


def _dotted(location: tuple[int | str, ...], places: Mapping[str, str]) -> str:
    """Join a pydantic location, leaving out the tags of unions, which are no keys of the user's."""
    parts = [str(part) for part in location]
    dotted = ".".join(parts)
    if dotted in places:
        return dotted
    kept = [part for part in parts if re.fullmatch(r"\w+", part)]
    for drop in range(1, len(kept)):
        shorter = ".".join(kept[:drop] + kept[drop + 1 :])
        if shorter in places:
            return shorter
    return ".".join(kept)


# -- description -------------------------------------------------------------------------------------------------------


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield `(dotted name, type, default, meaning)` of every setting, sections before what stands in them."""
    for name, info in model.model_fields.items():
        inner = _models(info.annotation)
        if inner:
            seen: set[str] = set()
            for section in inner:
                for row in describe(section, f"{prefix}{name}."):
                    if row[0] not in seen:
                        seen.add(row[0])
                        yield row
            continue
        default = "required" if info.is_required() else _show(info.get_default(call_default_factory=True))
        yield f"{prefix}{name}", _type_name(info.annotation), default, info.description or ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes in an annotation: one, those of a union, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in _models(part)]
    return []


def _type_name(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is None or annotation is type(None):
        return "null"
    if origin is typing.Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(dict.fromkeys(_type_name(argument) for argument in arguments))
    if origin in (list, tuple):
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {_type_name(arguments[0])} to {_type_name(arguments[1])}"
    names = {str: "text", int: "integer", float: "number", bool: "true | false"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def dump_yaml(tree: Mapping[str, Any]) -> str:
    """Return a settings tree as YAML in its own order."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=110)


def read_environment(folder: Path) -> dict[str, str]:
    """Return the variables of `.env` in `folder`, overruled by those of the environment."""
    return {**dotenv(folder / ".env"), **os.environ}
