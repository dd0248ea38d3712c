"""What task a file is for, where nobody said: the first kind as which its beginning can be read with labels."""

from dataclasses import replace
from itertools import islice

from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.labels import given_names
from tunny.data.read import read_all, sources
from tunny.data.settings import DataSettings, Kind

LOOKED_AT = 500  # examples
SCORES = 10  # distinct numbers from which on labels are scores
REASONS = {
    "ner": "it has spans or tags in a scheme", "pos": "it has a tag for each word", "classify": "each row has one label",
    "multilabel": "rows have any number of labels", "regress": "its labels are numbers",
}  # fmt: skip


def find_kind(path: str, settings: DataSettings) -> tuple[Kind, str]:
    """Return the kind of task that a file's labels are for, and the reason; raise DataError where it holds none."""
    lenient = settings.model_copy(update={"on_error": "quarantine"})
    files = list(sources([path], lenient, "ner", Audit(), given_names(settings), True))  # looked at once for all kinds
    kinds: tuple[Kind, ...] = ("pos", "ner") if files[0].format == "conllu" else ("ner", "pos")
    begun: list[tuple[Kind, list[Example]]] = []
    problems = []
    for kind in (*kinds, "classify", "multilabel", "regress"):
        audit = Audit()
        try:
            as_kind = (replace(file, kind=kind, audit=audit, by_place=False) for file in files)
            found = list(islice(read_all(as_kind), LOOKED_AT))
        except DataError as error:
            problems.append(f"as {kind}: {error}")
            continue
        if found and (kind == "regress" or any(example.spans or example.labels for example in found)):
            begun.append((kind, found))
            if len(found) >= len(audit.rejected):  # bad rows among good ones are no reason against it
                begun = begun[-1:]
                break
        problems += [f"as {kind}: {one['where']}: {one['detail']}" for one in audit.events.get("quarantined", [])[:1]]
    if not begun:
        why = "\n".join(problems) or "it holds no row with a text and a label"
        raise DataError(f"{path}: what task it is for cannot be told; give --task\n{why}")
    kind, found = max(begun, key=lambda each: len(each[1]))  # the kind that reads most
    if kind == "classify" and _are_scores(found):
        return "regress", "its labels are numbers of many values"
    return kind, REASONS[kind]


def _are_scores(found: list[Example]) -> bool:
    try:
        numbers = {float(example.labels[0]) for example in found if example.labels}
    except ValueError:
        return False
    return any(not number.is_integer() for number in numbers) or (len(numbers) > SCORES and len(found) < 20 * len(numbers))
