"""Rows as they stand in their files: dealt to new files of the same format, or quoted with the reason why they were left out."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa

from tunny.core.errors import DataError
from tunny.data.example import Origin
from tunny.data.read import FORMATS
from tunny.data.source import Source

Places = Mapping[Origin, int]  # of each row, the number of its new file


def format_of(sources: Sequence[Source]) -> tuple[str, str]:
    """Return the one format of all files and the ending of new ones; raise DataError where they differ or have no rows as text."""
    forms = {source.format for source in sources}
    if len(forms) > 1:
        raise DataError(f"expected files of one format, found {', '.join(sorted(forms))}. Convert them first: tunny convert")
    (form,) = forms
    if form == "hub":
        raise DataError("a data set of the library datasets has no rows as text. Convert it first: tunny convert ... --to parquet")
    suffix = sources[0].path.suffix.lower().removeprefix(".")
    return form, suffix if form == "label-studio" and suffix in ("csv", "tsv") else FORMATS[form].ending


def deal_rows(sources: Sequence[Source], places: Places, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write each row to the new file of its place, in the order it is met; rows without a place are left out."""
    form, ending = format_of(sources)
    paths = [folder / f"{name}.{ending}" for name in names]
    if form == "parquet":
        _deal_parquet(sources, places, paths)
        return paths
    as_list = ending == "json"  # rows are then the elements of one list
    written = [0] * len(paths)
    head: str | None = None
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("w", encoding="utf-8", errors="surrogateescape", newline="")) for path in paths]
        for file in files:
            file.write("[" if as_list else "")
        for source in sources:
            for row in FORMATS[source.format].rows(source):
                if row.line == 0 and not row.problem:
                    if head is not None and head.strip() != row.raw.strip():
                        raise DataError(f"{source.where(1)}: expected the columns of the first file, found others")
                    for file in files if head is None else ():
                        file.write(row.raw)
                    head = row.raw
                elif (at := places.get(Origin(source.number, row.line))) is not None:
                    between = (",\n" if written[at] else "\n") if as_list else ""
                    files[at].write(between + (row.raw if as_list or row.raw.endswith("\n") else row.raw + "\n"))
                    written[at] += 1
        for file in files:
            file.write("\n]\n" if as_list else "")
    assert sum(written) == len(places), f"{len(places) - sum(written)} rows were not found again"
    return paths


def _deal_parquet(sources: Sequence[Source], places: Places, paths: Sequence[Path]) -> None:
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        schema = pq.read_schema(sources[0].path)
        writers = [stack.enter_context(pq.ParquetWriter(path, schema)) for path in paths]
        for source in sources:
            if pq.read_schema(source.path) != schema:
                raise DataError(f"{source.path.name}: expected the columns and types of the first file, found others")
            lines = count(1)
            for batch in pq.ParquetFile(source.path).iter_batches(batch_size=4096):
                taken = np.array([places.get(Origin(source.number, next(lines)), -1) for _ in range(batch.num_rows)])
                for at, writer in enumerate(writers):
                    writer.write_batch(batch.filter(pa.array(taken == at)))


def quoted(sources: Iterable[Source], rejected: Iterable[tuple[int, int, str]]) -> Iterator[str]:
    """Yield a JSON line for each rejected row: file, line, reason, and the row as it stands (null where none was to be had)."""
    by_file: defaultdict[int, defaultdict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, line, reason in rejected:
        by_file[number][line].append(reason)
    for source in sources:
        wanted = by_file[source.number]
        found = {row.line: row.raw for row in FORMATS[source.format].rows(source) if row.raw and row.line in wanted} if wanted else {}
        for line, reasons in sorted(wanted.items()):
            for reason in reasons:
                place = {"number" if source.unit and line else "line": line}
                entry = {"file": source.path.name, **place, "reason": reason, "row": found.get(line)}
                yield json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"
