"""What task a file is for, where nobody said: the first kind as which its beginning can be read with labels."""

from itertools import islice

from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.example import Example
from tunny.data.labels import given_names
from tunny.data.read import read_all, sources
from tunny.data.settings import DataSettings, Kind

LOOKED_AT = 500  # examples
SCORES = 10  # distinct numbers from which on labels are scores


def find_kind(path: str, settings: DataSettings) -> tuple[Kind, str]:
    """Return the kind of task that a file's labels are for, and the reason; raise DataError where it holds none."""
    (source, *_) = sources([path], settings, "ner", Audit(), None, True)
    kinds: tuple[Kind, ...] = ("pos", "ner") if source.format == "conllu" else ("ner", "pos")
    problems = []
    for kind in (*kinds, "classify", "multilabel", "regress"):
        try:
            found = _beginning(path, settings, kind)
        except DataError as error:
            problems.append(str(error))
            continue
        if kind in ("ner", "pos") and any(example.spans for example in found):
            return kind, "it has spans or tags in a scheme" if kind == "ner" else "it has a tag for each word"
        if kind == "classify" and _are_scores(found):
            return "regress", "its labels are numbers of many values"
        if kind in ("classify", "multilabel") and any(example.labels for example in found):
            return kind, "each row has one label" if kind == "classify" else "rows have any number of labels"
        if kind == "regress" and found:
            return "regress", "its labels are numbers"
    raise DataError(f"{path}: what task it is for cannot be told; give --task. " + "; ".join(dict.fromkeys(problems)))


def _beginning(path: str, settings: DataSettings, kind: Kind) -> list[Example]:
    """Return the first good examples; bad ones among them are no reason against a kind."""
    lenient = settings.model_copy(update={"on_error": "quarantine"})
    audit = Audit()
    found = list(islice(read_all(sources([path], lenient, kind, audit, given_names(settings), True)), LOOKED_AT))
    bad = len(audit.rejected)
    if bad > len(found):
        raise DataError(f"as {kind}: {audit.rejected[0][2]}")
    return found


def _are_scores(found: list[Example]) -> bool:
    values = {example.labels[0] for example in found if example.labels}
    try:
        numbers = {float(value) for value in values}
    except ValueError:
        return False
    return any(not number.is_integer() for number in numbers) or (len(numbers) > SCORES and len(found) < 20 * len(numbers))
