"""Label names and their order: given by the user or collected from all splits, never matched by position."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunny.core.errors import DataError, did_you_mean
from tunny.data.settings import DataSettings
from tunny.data.tags import inside_of, split_tag


@dataclass(frozen=True)
class LabelSet:
    """What the model's outputs mean: `names` in id order. For ner and chunk the names are IOB2 tags."""

    kind: str
    names: tuple[str, ...]

    @property
    def ids(self) -> dict[str, int]:
        """Name to id."""
        return {name: number for number, name in enumerate(self.names)}

    @property
    def in_data(self) -> list[str]:
        """What examples are labelled with: entity types in ner and chunk, else the names themselves."""
        return types_of(self.names) if self.kind in ("ner", "chunk") else list(self.names)


def given_names(settings: DataSettings) -> dict[str, int] | None:
    """Return the label names of `data.labels` with their ids in the data, in id order; None where they are to be collected.

    Ids may leave some out (a subset of a larger tag set does); the model's own are counted anew in their order.
    """
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
        if len(set(given.values())) != len(given):
            raise DataError(f"data.labels: an id stands twice: {sorted(given.values())}")
        return dict(sorted(given.items(), key=lambda item: item[1]))
    if given is None:
        return None
    if len(set(given)) != len(given):
        raise DataError("data.labels: a name stands twice")
    return {name: number for number, name in enumerate(given)}


def kept_names(given: Mapping[str, int] | None, settings: DataSettings) -> list[str] | None:
    """Return the given names that `data.keep_labels` keeps, in id order."""
    if given is None or settings.keep_labels is None:
        return None if given is None else list(given)
    keep = set(settings.keep_labels)
    return [name for name in given if name in keep or name.partition("-")[2] in keep]


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
        types = list(given) if given and _are_tags(given) else ["O", *(f"{prefix}-{name}" for name in types for prefix in "BI")]
    return LabelSet(kind, tuple(types)), reason


def _are_tags(names: Sequence[str]) -> bool:
    """Whether names are O and tags of IOB2, for each type B- at least: they are then the model's outputs as they stand."""
    begun = {f"B-{name}" for name in types_of(names)}
    return {"O", *begun} <= set(names) <= {"O", *begun, *map(inside_of, begun)} and len(begun) > 0


def types_of(given: Sequence[str]) -> list[str]:
    """Return entity types from names that may be types or tags."""
    try:
        types = [split_tag(name)[1] for name in given]
    except ValueError:
        return [name for name in given if name != "O"]
    return [name for name in dict.fromkeys(types) if name]
