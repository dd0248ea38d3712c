"""Which files a name stands for, and what format a file is in: by content first and by the ending second."""

import contextlib
import glob
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from tunny.core.errors import DataError, did_you_mean
from tunny.data.json_stream import JSONProblem, as_record, elements, loads
from tunny.data.opening import Encoding, find_encoding, member_of, members, open_bytes, open_text, packing
from tunny.data.readers.glue import glue_files
from tunny.data.settings import DataSettings, split_paths

HUB = "hub:"
_TAG = re.compile(r"(O|[BIESLU]-\S+)$")
_ENDINGS = {
    ".conll": "conll", ".bio": "conll", ".iob": "conll", ".conllu": "conllu", ".csv": "csv", ".tsv": "tsv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".parquet": "parquet", ".txt": "text",
}  # fmt: skip
_MINIMAL = {"annotation_id", "annotator", "lead_time"}  # what Label Studio adds to each row of JSON-MIN, CSV and TSV
_TASK = ({"data", "annotations"}, {"data", "completions"}, {"data", "predictions"}, {"task", "result"}, {"data", "result"})
LOOKED_AT = 1 << 16  # characters of a file that its format is told by, where no line is longer


def find_files(pattern: str) -> list[Path]:
    """Return the files that a path, glob, folder, archive or `hub:` name stands for, in name order; raise DataError for none."""
    path = Path(pattern)
    if pattern.startswith(HUB) or is_saved_dataset(path):
        return [path]
    if path.is_dir():
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        found = [entry for entry in entries if entry.is_file()]
        if not found:
            raise DataError(f"{path}: the folder holds no file")
        if inside := [entry.name for entry in entries if entry.is_dir()]:
            raise DataError(f"{path}: holds folders too ({', '.join(inside[:5])}). Name the files by a glob: {path}/* or {path}/**/*")
        return found
    if path.is_file():
        return [_only_member(path)]
    if (member := member_of(path)) is not None:
        return [member]
    found = sorted(_only_member(Path(name)) for name in glob.glob(pattern, recursive=True) if os.path.isfile(name))
    if not found:
        beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{path}: no such file{did_you_mean(path.name, beside)}")
    return found


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder is one that `save_to_disk` of the library datasets wrote."""
    return (path / "dataset_dict.json").is_file() or ((path / "state.json").is_file() and (path / "dataset_info.json").is_file())


def _only_member(path: Path) -> Path:
    """Return the path, of a zip archive that of its only file; raise DataError where it holds several."""
    with path.open("rb") as file:
        if packing(file.read(4)) != "zip":
            return path
    inside = members(path)
    if len(inside) > 1:
        raise DataError(f"{path}: holds {len(inside)} files. Name one of them: {', '.join(f'{path}/{name}' for name in inside[:10])}")
    return path / inside[0]


def require_other_file(out: str, source: str) -> None:
    """Raise DataError where a result would replace what it is made of."""
    sources = [] if "-" in (out, source) or not Path(out).exists() else find_files(source)
    if any(path.exists() and Path(out).samefile(path) for path in sources):
        raise DataError(f"{out}: is the source itself. Name another file for the result.")


class Looks(NamedTuple):
    """What a file is."""

    format: str
    reason: str
    encoding: Encoding | None = None  # None where the format is no text


def look_at(path: Path, settings: DataSettings) -> Looks:
    """Return what a file is, as the settings say or as it looks."""
    if str(path).startswith(HUB):
        return Looks("hub", "the name says so")
    if is_saved_dataset(path):
        return Looks("hub", "it is a folder that the library datasets saved")
    with open_bytes(path) as file:
        if settings.format == "parquet" or (settings.format == "auto" and file.read(4) == b"PAR1"):
            return Looks("parquet", "it starts with Parquet's mark" if settings.format == "auto" else "data.format says so")
    encoding = find_encoding(path, settings.encoding)
    if settings.format != "auto":
        return Looks(settings.format, "data.format says so", encoding)
    return Looks(*_by_content(path, encoding.name), encoding)


def _by_content(path: Path, encoding: str) -> tuple[str, str]:
    with open_text(path, encoding, "replace") as text:
        head = (text.read(LOOKED_AT) + text.readline(256 * LOOKED_AT) + text.readline(LOOKED_AT)).lstrip("\ufeff")
    lines = [line.rstrip("\r") for line in head.split("\n")]
    return _json_format(path, encoding, head, lines) or _columns_format(lines) or _by_ending(path)


def _json_format(path: Path, encoding: str, head: str, lines: list[str]) -> tuple[str, str] | None:
    start = head.lstrip()
    written = [line for line in lines if line.strip()] or [""]
    if start.startswith("[") and as_record(_value(written[0])) is not None:
        return "jsonl", "each line is a text with its labels"
    if re.match(r"\[\s*[{\]\[]", start):
        with open_text(path, encoding, "replace") as text, contextlib.suppress(JSONProblem, StopIteration):
            return _of_record(next(elements(text)).value, "a JSON list of") or ("json", "it is a JSON list")
        return "json", "it begins like a JSON list"
    if not re.match(r"\{\s*[\"}]", start):
        return None
    whole = [line for line in written if line.startswith("{") and line.rstrip().endswith("}")]
    named = path.suffix.lower() in {".jsonl", ".ndjson"}
    if len(whole) > 1 or (len(written) > 1 and _value(written[0]) is not None) or (named and (whole or len(written) == 1)):
        record = next((value for line in whole if (value := _value(line)) is not None), None)
        return _of_record(record, "lines of") or ("jsonl", "each line is a JSON object")
    if re.search(r'"result"\s*:|"completions"\s*:|"annotations"\s*:', head) and re.search(r'"(task|data)"\s*:\s*\{', head):
        return "label-studio", "it is one task of Label Studio with its annotation"
    return "json", "it is a JSON object"  # a list with something around it, or one record


def _value(line: str) -> Any:
    try:
        return loads(line)
    except ValueError:
        return None


def _of_record(record: Any, what: str) -> tuple[str, str] | None:
    keys = set(record) if isinstance(record, dict) else set()
    if any(task <= keys and isinstance(record.get("data", {}), dict) for task in _TASK):
        return "label-studio", f"it is {what} tasks with data and annotations"
    return ("label-studio", f"it is {what} rows with annotation_id and annotator, as JSON-MIN has") if keys >= _MINIMAL else None


def _columns_format(lines: list[str]) -> tuple[str, str] | None:
    body = [line for line in lines if line.strip() and not line.startswith("#")][:50]
    if not body or max(map(len, body)) > LOOKED_AT:
        return None
    if set(re.split(r"[\t,;]", body[0].replace('"', ""))) >= _MINIMAL:
        return "label-studio", "its columns annotation_id and annotator are those of Label Studio's CSV and TSV exports"
    if all(line.count("\t") == 9 and line[0].isdigit() for line in body):
        return "conllu", "its lines have ten columns and start with a number"
    rows = [line.split("\t") if "\t" in line else line.split() for line in body]
    same = len({len(row) for row in rows}) == 1  # a text may end in a word like a tag: "vitamin O"
    if same and len(rows) > 1 and all(len(row) >= 2 and _TAG.match(row[-1]) for row in rows):
        return "conll", "each line is a word and a tag"
    return None


def _by_ending(path: Path) -> tuple[str, str]:
    last = [suffix for suffix in map(str.lower, path.suffixes) if suffix not in {".gz", ".zip", ".zst"}][-1:]
    return (_ENDINGS[last[0]], f"its ending is {last[0]}") if {*last} & {*_ENDINGS} else ("text", "nothing else fits; each line is a text")


def split_files(data: DataSettings) -> dict[str, list[str]]:
    """Return the files of each split under its full name: train, validation or validation/NAME, test."""
    found: dict[str, list[str]] = {}
    for split in ("train", "validation", "test"):
        for name, paths in split_paths(getattr(data, split)).items():
            if data.format.startswith("glue:") and len(paths) == 1 and Path(paths[0]).is_dir():
                parts = glue_files(Path(paths[0]), data.format.partition(":")[2], split)
                found |= {f"{split}/{name or part}" if name or part else split: [str(path)] for part, path in parts.items()}
            else:
                found[f"{split}/{name}" if name else split] = paths
    return found
