"""The arguments of Hugging Face's example scripts: what a command line or a JSON file gives, and what becomes of each.

The table is `templates/hf_scripts.yaml`. Nothing is ignored in silence: an argument without effect is said, one that Tunny cannot
follow is refused, and all problems are listed at once.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tunny.core.console import say
from tunny.core.errors import ConfigError, did_you_mean
from tunny.core.page import TEMPLATES, render

SCRIPTS = {"run_ner": "n", "run_ner_no_trainer": "t", "run_glue": "g"}
_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool, "list": list}
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number"}
_BOOLS = {**dict.fromkeys(("true", "yes", "t", "y", "1"), True), **dict.fromkeys(("false", "no", "f", "n", "0"), False)}


class Argument(NamedTuple):
    """One argument of a script: what becomes of it, and of its values where only some are taken."""

    type: type
    default: Any
    becomes: str
    values: Mapping[Any, Any]


@dataclass(frozen=True)
class Arguments:
    """What a script was told: the value of each of its arguments, given or not, and the settings that take one as it is."""

    script: str
    values: Mapping[str, Any]
    settings: Mapping[str, Any]
    problems: Sequence[str]  # what cannot be followed, by which values and settings are not whole

    def __getitem__(self, name: str) -> Any:
        """Return the value of an argument, None of one that this script does not have."""
        return self.values.get(name)


@cache
def _rows() -> list[tuple[str, str, dict[str, Any], dict[Any, Any]]]:
    return [(*row, {})[:4] for row in yaml.safe_load((TEMPLATES / "hf_scripts.yaml").read_text("utf-8"))]


def arguments_of(script: str) -> dict[str, Argument]:
    """Return the arguments of a script by name."""
    found = {}
    for whose, becomes, arguments, values in _rows():
        for name, default in arguments.items() if SCRIPTS[script] in whose else ():
            kind = _TYPES.get(str(default))
            found[name] = Argument(kind or type(default), None if kind else default, becomes, values)
    return found


def read_words(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each argument named on a command line, or in the JSON file that is its only word."""
    if len(words) == 1 and words[0].endswith(".json"):
        try:
            given = json.loads(Path(words[0]).read_text("utf-8-sig")).items()
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigError(f"{words[0]}: expected a JSON object of arguments: {error}") from error
        return {name: [str(item) for item in (value if isinstance(value, list) else [value])] for name, value in given if value is not None}
    found: dict[str, list[str]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            found[name.replace("-", "_")] = last = [value] if equals else []
        elif found:
            last.append(word)
        else:
            raise ConfigError(f"{word}: expected arguments as --name value, or the path of one .json file")
    return found


def understand(script: str, written: Mapping[str, Sequence[str]]) -> Arguments:
    """Return what a script was told, with all that it cannot follow, and say what has no effect."""
    table, problems, idle = arguments_of(script), list[str](), list[str]()
    values = {name: one.default for name, one in table.items()}
    for name, words in written.items():
        if name not in table and name.startswith("no_") and not words:
            name, words = name[3:], ["false"]
        if name not in table:
            others = [other for other in SCRIPTS if name in arguments_of(other)]
            problems.append(f"--{name}: {script} has no such argument{f'; {others[0]} has' if others else did_you_mean(name, table)}")
            continue
        name = table[name].becomes[3:] if table[name].becomes.startswith("as ") else name
        one, (fate, _, why) = table[name], table[name].becomes.partition(": ")
        try:
            values[name] = value = _value(one.type, words)
        except (ValueError, KeyError):
            problems.append(f"--{name}: expected {_EXPECTED.get(one.type, 'one value')}, found {' '.join(words) or 'nothing'}")
            continue
        unknown = [item for item in (value if one.type is list else [value]) if one.values and item not in one.values]
        if unknown:
            own = ". Others are classes of your own, given by --track: see docs/tracking.md" * (one.becomes == "track")
            problems.append(f"--{name}: expected one of {', '.join(map(str, one.values))}, found {unknown[0]}{own}")
        elif fate == "refused" and value != one.default:
            problems.append(f"--{name}: {why}. Leave it out.")
        elif fate == "none":
            idle.append(f"--{name}: has no effect: {why}")
    for line in idle:
        say(line)
    taken = {name: one for name, one in table.items() if re.fullmatch(r"[\w.]+", one.becomes) and values[name] is not None}
    return Arguments(script, values, {one.becomes: _mapped(one.values, values[name]) for name, one in taken.items()}, problems)


def _value(kind: type, words: Sequence[str]) -> Any:
    """Return what words say; raise ValueError or KeyError where they do not."""
    if kind is list:
        return list(words)
    (word,) = words or (["true"] if kind is bool else [])
    if kind is bool:
        return _BOOLS[word.lower()]
    whole = kind is int and float(word).is_integer() and abs(float(word)) < 1 << 53  # from there on a float may be another number
    return int(float(word)) if whole else kind(word)


def _mapped(values: Mapping[Any, Any], value: Any) -> Any:
    """Return what a value becomes, of a list what its items become."""
    if isinstance(value, list):
        return [values[item] for item in value if values.get(item) is not None]
    return values.get(value, value)


def page() -> str:
    """Return docs/hf-scripts.md."""
    return render("hf_scripts.md", {"rows": _rows(), "scripts": SCRIPTS, "types": [*_TYPES]})
