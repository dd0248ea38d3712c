"""Data sets of the library datasets: from the Hub, `hub:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]`, or a folder that it saved.

The names of its label classes come along, so integers never need a list of names. What is in the cache needs no network
(HF_HUB_OFFLINE=1 keeps it from being asked). A split of a saved folder of several is the folder in it: FOLDER/train.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunny.core.errors import DataError
from tunny.core.files import digest_bytes
from tunny.core.hub import library, token
from tunny.data import opening
from tunny.data.example import Example, Row
from tunny.data.records import read_records
from tunny.data.source import Source

_NAME = re.compile(r"hub:(?P<path>[^:@#]+)(?::(?P<name>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<split>.+))?")


def read(source: Source) -> Iterator[Example]:
    """Yield one example a row."""
    data = _load(source.path)
    named = {name: feature for name, feature in data.features.items() if _has_names(feature)}

    def rows(_: Source) -> Iterator[Row]:
        yield Row(0, "", data.column_names)
        found = (row for table in data.with_format("arrow").iter(1000) for row in table.to_pylist())
        for number, row in enumerate(found, 1):
            yield Row(number, "", row | {name: _by_name(row[name], feature) for name, feature in named.items()})

    yield from read_records(rows, source)


def digest(path: Path) -> str:
    """Return a digest of the data set's rows and of the names of its classes."""
    data = _load(path)
    return digest_bytes(str(data.features), *(opening.digest(Path(file["filename"])) for file in data.cache_files))


def _load(path: Path) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{path}: reading it needs the library datasets: pip install 'tunny[hub]'") from error
    library()
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    wanted = _NAME.fullmatch(str(path))
    if str(path).startswith("hub:") and wanted is None:
        raise DataError(f"{path}: expected hub:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]")
    try:
        named, load = (wanted.groupdict(), datasets.load_dataset) if wanted else ({"dataset_path": str(path)}, datasets.load_from_disk)
        data = load(**named, keep_in_memory=False, **({"token": token()} if wanted else {}))
    except Exception as error:  # whatever the library and the network raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{path}: cannot be loaded as a data set: {reason}") from error
    if isinstance(data, dict):
        if len(data) > 1:
            splits = ", ".join(f"{path}{'#' if wanted else '/'}{name}" for name in data)
            raise DataError(f"{path}: holds {len(data)} splits. Name one of them: {splits}")
        (data,) = data.values()
    return data


def class_names(path: Path) -> dict[str, list[str]]:
    """Return the names of the classes in id order, of each column that holds classes or lists of them."""
    inner = {name: getattr(feature, "feature", feature) for name, feature in _load(path).features.items()}
    return {name: list(feature.names) for name, feature in inner.items() if hasattr(feature, "names")}


def _has_names(feature: Any) -> bool:
    parts = feature.values() if isinstance(feature, dict) else [getattr(feature, "feature", None)]
    return hasattr(feature, "names") or any(_has_names(part) for part in parts if part is not None)


def _by_name(value: Any, feature: Any) -> Any:
    """Return a value with its classes by name; -1, which means no class, is None."""
    if isinstance(feature, dict):
        return value and {name: _by_name(part, feature[name]) for name, part in value.items()}
    if isinstance(value, list):
        return [_by_name(part, feature.feature) for part in value]
    return (feature.names[value] if value >= 0 else None) if isinstance(value, int) and hasattr(feature, "names") else value
