"""Label names and their order: given by the user or collected from all splits, never matched by position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunny.core.errors import DataError, did_you_mean
from tunny.data.settings import DataSettings
from tunny.data.tags import split_tag


@dataclass(frozen=True)
class LabelSet:
    """What the model's outputs mean: `names` in id order. For ner and chunk the names are IOB2 tags."""

    kind: str
    names: tuple[str, ...]

    @property
    def ids(self) -> dict[str, int]:
        """Name to id."""
        return {name: number for number, name in enumerate(self.names)}


def given_names(settings: DataSettings) -> list[str] | None:
    """Return the label names of `data.labels` in id order, or None where they are to be collected."""
    given = settings.labels
    if isinstance(given, str):
        path = Path(given)
        if not path.is_file():
            raise DataError(f"{given}: no such file (data.labels: a list, a mapping, or a file with one label a line)")
        try:
            given = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
        except UnicodeDecodeError as error:
            raise DataError(f"{given}: expected UTF-8 text, found byte {error.object[error.start]:#04x} (data.labels)") from error
    if isinstance(given, dict):
        by_id = given
        if sorted(given.values()) != list(range(len(given))):
            raise DataError(f"data.labels: ids must be 0 to {len(given) - 1}, each once; found {sorted(given.values())}")
        given = sorted(by_id, key=lambda name: by_id[name])
    if given is not None and len(set(given)) != len(given):
        raise DataError("data.labels: a name stands twice")
    return given


def label_set(kind: str, given: Sequence[str] | None, found: Mapping[str, Counter[str]]) -> tuple[LabelSet, str]:
    """Return the labels of a task and the reason for their order.

    `found` maps each split to how often each label (entity type, tag or class) occurs in it. Raises DataError for a label in
    the data that `data.labels` does not name.
    """
    if kind == "regress":
        return LabelSet(kind, ("score",)), "a score has no labels"
    everywhere = sorted({name for counts in found.values() for name in counts})
    if given is None:
        types, reason = everywhere, "collected from all splits, in alphabetical order"
    else:
        types, reason = (types_of(given) if kind in ("ner", "chunk") else list(given)), "data.labels"
        for split, counts in found.items():
            for name in counts:
                if name not in types:
                    raise DataError(f"{split} data: label {name!r} is not in data.labels{did_you_mean(name, types)}")
    if kind in ("ner", "chunk"):
        return LabelSet(kind, ("O", *(f"{prefix}-{name}" for name in types for prefix in "BI"))), reason
    return LabelSet(kind, tuple(types)), reason


def types_of(given: Sequence[str]) -> list[str]:
    """Return entity types from names that may be types or tags."""
    try:
        types = [split_tag(name)[1] for name in given]
    except ValueError:
        return [name for name in given if name != "O"]
    return [name for name in dict.fromkeys(types) if name]
