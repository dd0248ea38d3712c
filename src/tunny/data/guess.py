"""What task a file is for, where nobody said: the first kind as which its beginning can be read with labels."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.labels import given_names
from tunny.data.read import read_all, sources
from tunny.data.settings import DataSettings, Kind
from tunny.data.source import Source

LOOKED_AT = 500  # examples
SCORES = 10  # distinct numbers from which on labels are scores


def find_kind(path: str, settings: DataSettings) -> tuple[Kind, str]:
    """Return the kind of task that a file's labels are for, and the reason; raise DataError where it holds none."""
    lenient = settings.model_copy(update={"on_error": "quarantine"})
    found_files = list(sources([path], lenient, "ner", Audit(), given_names(settings), True))  # looked at once for all kinds
    kinds: tuple[Kind, ...] = ("pos", "ner") if found_files[0].format == "conllu" else ("ner", "pos")
    begun: list[tuple[Kind, list[Example]]] = []
    problems = []
    for kind in (*kinds, "classify", "multilabel", "regress"):
        audit = Audit()
        try:
            found = _beginning(found_files, kind, audit)
        except DataError as error:
            problems.append(f"as {kind}: {error}")
            continue
        if found and len(found) >= len(audit.rejected):
            return _said(kind, found)
        begun += [(kind, found)] if found else []
        problems += [f"as {kind}: {one['where']}: {one['detail']}" for one in audit.events.get("quarantined", [])[:1]]
    if begun:  # more bad rows than good ones; the kind that reads most
        return _said(*max(begun, key=lambda each: len(each[1])))
    why = "\n".join(problems) or "it holds no row with a text and a label"
    raise DataError(f"{path}: what task it is for cannot be told; give --task\n{why}")


def _said(kind: Kind, found: list[Example]) -> tuple[Kind, str]:
    if kind == "classify" and _are_scores(found):
        return "regress", "its labels are numbers of many values"
    reasons = {"ner": "it has spans or tags in a scheme", "pos": "it has a tag for each word", "classify": "each row has one label"}
    return kind, reasons.get(kind, "rows have any number of labels" if kind == "multilabel" else "its labels are numbers")


def _beginning(files: Sequence[Source], kind: Kind, audit: Audit) -> list[Example]:
    """Return the first good examples, where any has what the kind is about; bad ones among them are no reason against it."""
    as_kind = (replace(file, kind=kind, audit=audit, by_place=False) for file in files)
    found = list(islice(read_all(as_kind), LOOKED_AT))
    return found if kind == "regress" or any(example.spans or example.labels for example in found) else []


def _are_scores(found: list[Example]) -> bool:
    values = {example.labels[0] for example in found if example.labels}
    try:
        numbers = {float(value) for value in values}
    except ValueError:
        return False
    return any(not number.is_integer() for number in numbers) or (len(numbers) > SCORES and len(found) < 20 * len(numbers))
