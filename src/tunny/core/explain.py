"""Says what settings there are, and what is wrong with those that were given: one line each, with its place.

Everything is read off the pydantic models; pydantic's own words for a union are one message a member, which helps nobody.
"""

import difflib
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Union

from pydantic import BaseModel, TypeAdapter, ValidationError

from tunny.core.errors import did_you_mean


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield `(dotted name, type, default, meaning)` of every setting, sections before what stands in them."""
    rows: dict[str, tuple[str, str, str, str]] = {}
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else _show(info.get_default(call_default_factory=True))
        own = (f"{prefix}{name}", _type_name(info.annotation), default, info.description or "")
        inside = [row for inner in models_in(info.annotation) for row in describe(inner, f"{own[0]}.")]
        for key, kind, default, meaning in inside or [own]:
            kinds = f"{rows[key][1]} | {kind}" if key in rows else kind
            rows[key] = (key, " | ".join(dict.fromkeys(kinds.split(" | "))), default, meaning)
    yield from rows.values()


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """Return the settings classes in an annotation: one, those of a union, or none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if typing.get_origin(annotation) in (Union, types.UnionType, typing.Annotated):
        return [model for part in typing.get_args(annotation) for model in models_in(part)]
    return []


def _type_name(annotation: Any) -> str:
    sections = models_in(annotation)
    if sections:
        first = next(iter(sections[0].model_fields), None)
        return f"settings as {{{first}: ...}}" if first else "{} | null"
    return _named(TypeAdapter(annotation).json_schema())


def _named(schema: Mapping[str, Any] | bool) -> str:
    """Return the name of a type of which pydantic gives the JSON schema."""
    if isinstance(schema, bool):
        return "anything"
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(_named, schema["anyOf"])))
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    if schema["type"] == "array":
        return f"list of {_named(schema['items'])}"
    if schema["type"] == "object":
        return f"mapping of text to {_named(schema['additionalProperties'])}"
    kind: str = schema["type"]
    return {"string": "text", "boolean": "true | false"}.get(kind, kind)


def _show(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def where(places: Mapping[str, str], key: str) -> str:
    """Return the place of a setting, or else those inside of it, or else that of the nearest section around it."""
    around = (key.rsplit(".", depth)[0] for depth in range(1, key.count(".") + 1))
    return places.get(key) or _inside(places, key) or next((places[name] for name in around if name in places), "settings")


def _inside(places: Mapping[str, str], key: str) -> str:
    return ", ".join(dict.fromkeys(place for name, place in places.items() if name.startswith(f"{key}.")))


def explain(error: ValidationError, model: type[BaseModel], places: Mapping[str, str], written: Mapping[str, Any]) -> list[str]:
    """Return one line for each setting that is wrong; pydantic has one for each member of a union."""
    found: dict[str, tuple[Any, list[Any]]] = {}
    for problem in error.errors():
        key, annotation = _setting(model, problem["loc"], problem["type"] == "extra_forbidden")
        found.setdefault(key, (annotation, []))[1].append(problem)
    return [_line(key, annotation, problems, model, places, written) for key, (annotation, problems) in found.items()]


def _setting(model: type[BaseModel], location: Sequence[int | str], unknown: bool) -> tuple[str, Any]:
    """Return the dotted name and the type of the setting at a pydantic location, without tags of unions and parts of values."""
    names: list[str] = []
    annotation: Any = model
    for part in location[:-1] if unknown else location:
        field = next((inner.model_fields[part] for inner in models_in(annotation) if part in inner.model_fields), None)
        if field is not None:
            names.append(str(part))
            annotation = field.annotation
    return ".".join([*names, str(location[-1])] if unknown else names), annotation


def _line(
    key: str, annotation: Any, problems: Sequence[Any], model: type[BaseModel], places: Mapping[str, str], written: Mapping[str, Any]
) -> str:  # fmt: skip
    """Say what is wrong with one setting: unknown, missing, or a value that does not fit."""
    kind, context = problems[0]["type"], problems[0].get("ctx", {})
    if kind.startswith("union_tag"):
        key = f"{key}.{context['discriminator'].strip(chr(39))}"
        annotation = Literal[tuple(re.findall(r"'(\w+)'", context.get("expected_tags", "")))]
    if kind == "extra_forbidden":
        key = next((name for name in places if name == key or name.startswith(f"{key}.")), key)
        if key in _known(model):
            return f"{where(places, key)}: '{key}' is no setting of {' '.join(map(str, problems[0]['loc'][:-1]))}"
        return f"{where(places, key)}: unknown setting '{key}'{nearest(key, model) or _beside(key, model)}"
    if kind in ("missing", "union_tag_not_found"):
        return f"settings: '{key}' is required; give --{key} or set it in the config"
    value: Any = written
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    # A rule between the settings of a section was broken by one of them: which, the user sees from their places.
    inside = _inside(places, key) if isinstance(value, dict) and models_in(annotation) else ""
    return f"{inside or where(places, key)}: {key}: {_misfit(annotation, problems, value)}"


def _misfit(annotation: Any, problems: Sequence[Any], value: Any) -> str:
    """Say what was expected and what was found: the whole type where the value fits none of it, else the rule it breaks."""
    kind = problems[0]["type"]
    shown = repr(value) if isinstance(value, str) else _show(value)
    if len(problems) > 1 or kind.startswith("union_tag") or kind.endswith(("_type", "_parsing", "literal_error", "from_float")):
        names = [str(name) for name in typing.get_args(annotation)] if typing.get_origin(annotation) is Literal else []
        near = did_you_mean(value, names) if isinstance(value, str) else ""
        return f"expected {_type_name(annotation)}, found {shown}{near}"
    message = problems[0]["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return f"{message[0].lower()}{message[1:]}" + ("" if isinstance(value, dict) else f", found {shown}")


def _known(model: type[BaseModel]) -> list[str]:
    """Return the dotted names of all sections and settings."""
    names = [name.split(".") for name, *_ in describe(model)]
    return list(dict.fromkeys(".".join(name[:depth]) for name in names for depth in range(1, len(name) + 1)))


def nearest(key: str, model: type[BaseModel]) -> str:
    """Return "; did you mean 'x'?" for an unknown setting: the same name elsewhere, a like one beside it, a like one anywhere."""
    known = [name for name in _known(model) if name != key]
    section, _, last = key.rpartition(".")
    beside = {name.rpartition(".")[2]: name for name in known if name.rpartition(".")[0] == section}
    near = [name for name in known if name.rpartition(".")[2] == last]
    near = near or [beside[name] for name in difflib.get_close_matches(last, beside, n=1)]
    near = near or ([] if beside else difflib.get_close_matches(key, known, n=1))
    return "; did you mean " + " or ".join(f"'{name}'" for name in near) + "?" if near else ""


def _beside(key: str, model: type[BaseModel]) -> str:
    """Return "; there are x, y": what stands in the section of an unknown setting, or else the sections."""
    section = key.rpartition(".")[0]
    names = [name for name in _known(model) if name.rpartition(".")[0] == section]
    return f"; there are {', '.join(names or [name for name in _known(model) if '.' not in name])}"
