"""Reads layers of settings (YAML, environment, flags) into one typed tree and reports every problem with its place.

What the settings are is decided by the pydantic models of each room; this file only knows dotted names. Layers come
in rising precedence. Each value keeps the place it came from, so that a message can name a file and a line, a variable or
a flag. `${VAR}` is expanded for use; `Resolved.written` keeps what was written, and messages quote only that.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tunny.core.errors import ConfigError
from tunny.core.explain import explain, models_in, where

M = TypeVar("M", bound=BaseModel)
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_DOTENV = re.compile(r"""\s*(?:export\s+)?(\w+)\s*=\s*(?:(['"])(.*)\2|(.*?))\s*(?:(?<=['"\s])#.*)?$""")


class Settings(BaseModel):
    """The root of every settings class: frozen, no unknown keys, finite numbers, numbers accepted where text is asked for."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, allow_inf_nan=False, protected_namespaces=()
    )  # fmt: skip


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
    text = _read_text(path)
    layer = Layer({}, {})
    try:
        loader = _Yaml(text)
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            _note_places(node, "", path.name, layer)
            layer.values.update({str(key): value for key, value in loader.construct_document(node).items()})
        elif node is not None and not node.tag.endswith(":null"):
            raise ConfigError(f"{path}:1: expected settings as 'name: value', found a {node.tag.rsplit(':', 1)[-1]}")
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", " ".join(str(error).split()))
        raise ConfigError(f"{path.name}{f':{mark.line + 1}' if mark else ''}: not valid YAML: {problem}") from error
    return layer


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected UTF-8 text, found byte {error.object[error.start]:#04x} at {error.start}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


class _Yaml(yaml.SafeLoader):
    """YAML whose plain words are text unless they read back as written: `010`, `1.10`, `no` and `2024-01-01` are text."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML declares it


for _tag, _form, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"0|-?[1-9]\d*", list("-0123456789")),
    ("float", r"-?(0|[1-9]\d*)\.(0|\d*[1-9])", list("-0123456789")),
    ("merge", "<<", ["<"]),
):
    _Yaml.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form})\Z"), _first)


def _note_places(node: yaml.MappingNode, prefix: str, name: str, layer: Layer) -> None:
    """Note the line of every key, and report those that are set twice, which YAML itself lets pass."""
    for key_node, value_node in node.value:
        if key_node.tag.endswith(":merge"):
            continue
        key = f"{prefix}{key_node.value}"
        place = f"{name}:{key_node.start_mark.line + 1}"
        if key in layer.places:
            layer.problems.append(f"{place}: '{key}' is set twice; the first time at {layer.places[key]}")
        layer.places[key] = place
        if isinstance(value_node, yaml.MappingNode):
            _note_places(value_node, f"{key}.", name, layer)


def environment_layer(environ: Mapping[str, str], prefix: str = "TUNNY__") -> Layer:
    """Take `TUNNY__SECTION__KEY=value` from the environment."""
    names = {name.removeprefix(prefix).lower().replace("__", "."): name for name in sorted(environ) if name.startswith(prefix)}
    places = {key: f"environment {name}" for key, name in names.items()}
    return Layer({key: parse_value(environ[name]) for key, name in names.items()}, places)


def dotenv(path: Path) -> dict[str, str]:
    """Read `NAME=value` lines of a `.env` file; comments, `export` and quotes are understood."""
    lines = _read_text(path).splitlines() if path.is_file() else []
    return {match[1]: match[3] if match[2] else match[4] for match in map(_DOTENV.match, lines) if match}


def flag_layer(flags: Sequence[tuple[str, str | None]]) -> Layer:
    """Take `(name, value)` pairs of the command line; a flag without a value is `true`."""
    values = {key: True if value is None else parse_value(value) for key, value in flags}
    return Layer(values, {key: f"command line --{key}" for key in values})


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
    """Read one value: [lists], {mappings}, 'quoted text', numbers, true, false and null as in YAML; anything else is text.

    Only these, as YAML has a meaning for `|`, `#` and `*.csv` too.
    """
    try:
        if text.startswith(("[", "{", "'", '"')):
            return _Yaml(text).get_single_data()
        loader: Any = _Yaml("")
        return loader.construct_object(yaml.ScalarNode(loader.resolve(yaml.ScalarNode, text, (True, False)), text))
    except yaml.YAMLError:
        return text


# -- the tree ----------------------------------------------------------------------------------------------------------


def resolve(model: type[M], layers: Sequence[Layer], shorthands: Mapping[str, Any], variables: Mapping[str, str]) -> Resolved[M]:
    """Merge the layers, expand `${VAR}`, validate, and return the typed tree.

    `shorthands` maps a top-level name to a function from its short value, and what stands below it, to its mapping. Raises ConfigError with one
    line for every problem found.
    """
    written: dict[str, Any] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    for layer in layers:
        problems += layer.problems
        places.update(layer.places)
        for key, value in layer.values.items():
            if key in shorthands and value is not None and not isinstance(value, dict):
                value = shorthands[key](value, written.get(key))
            for name in reversed(key.split(".")):  # a label such as `U.S.` inside the value stays whole
                value = {name: value}
            written = _merge(written, value)
    sections = {name for name, info in model.model_fields.items() if models_in(info.annotation)}
    written = {key: value for key, value in written.items() if value is not None or key not in sections}
    missing: list[tuple[str, str]] = []
    expanded = _expand(written, variables, "", missing)
    problems += [f"{where(places, key)}: ${{{name}}} is not set in the environment or .env" for key, name in missing]
    settings: M | None = None
    try:
        settings = model.model_validate(expanded)
    except ValidationError as error:
        problems += explain(error, model, places, written)
    if problems or settings is None:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    return Resolved(settings, keep_written(settings.model_dump(mode="json"), written))


def _merge(below: Any, above: Any) -> Any:
    """Lay one value over another: mappings merge, anything else replaces."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: _merge(below.get(key), value) for key, value in above.items()}}
    return above


def _expand(value: Any, variables: Mapping[str, str], at: str, missing: list[tuple[str, str]]) -> Any:
    """Return a value with its variables filled in; `missing` gets the place and the name of those that are not set."""
    if isinstance(value, dict):
        return {key: _expand(item, variables, f"{at}.{key}".lstrip("."), missing) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, variables, at, missing) for item in value]
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        return value
    missing += [(at, name) for name in _VARIABLE.findall(text) if name not in variables]
    return _VARIABLE.sub(lambda match: variables.get(match[1], match[0]), text)


def keep_written(resolved: Any, written: Any) -> Any:
    """Return the resolved tree with every text that held `${VAR}` as it was written."""
    if isinstance(resolved, dict) and isinstance(written, dict):
        return {key: keep_written(value, written.get(key)) for key, value in resolved.items()}
    if isinstance(resolved, list) and isinstance(written, list) and len(resolved) == len(written):
        return [keep_written(value, source) for value, source in zip(resolved, written, strict=True)]
    return written if isinstance(written, str) and _VARIABLE.search(written) else resolved


def dump_yaml(tree: Mapping[str, Any], *, leaves_inline: bool = False) -> str:
    """Return a settings tree as YAML in its own order; lists and mappings that hold no others on one line where that is asked for."""
    # PyYAML does not escape these three line ends among other Unicode, and reads them back as others.
    plain = not re.search("[\x85\u2028\u2029]", json.dumps(tree, ensure_ascii=False))
    style = None if leaves_inline else False
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=plain, width=110, default_flow_style=style)


def read_yaml(text: str) -> dict[str, Any]:
    """Return a settings tree as it is written; numbers such as 5.0e-05 are text until they are checked."""
    return dict(_Yaml(text).get_single_data())


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of a tree under its dotted name."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_environment(folder: Path) -> dict[str, str]:
    """Return the variables of `.env` in `folder`, overruled by those of the environment."""
    return {**dotenv(folder / ".env"), **os.environ}
