"""Examples as files of every format that can hold them, and an account of what a format cannot hold.

Files are written as examples come, and appear whole or not at all. What they say reads back exactly, whatever characters it is made
of; only a NUL in a text becomes U+FFFD where a format has none. Records have the columns that the first CHUNK examples need.
"""

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from tunny.core.errors import ConfigError, did_you_mean
from tunny.core.files import new_file
from tunny.data.audit import Audit
from tunny.data.cells import shown
from tunny.data.example import Example, Span
from tunny.data.settings import TOKEN_KINDS, Kind
from tunny.data.source import ESCAPED
from tunny.data.tags import word_tags
from tunny.data.words import words_of

Record = dict[str, Any]
CHUNK = 1024  # examples that decide the columns, and rows of a row group of Parquet
_PARTS: dict[str, Callable[[Example], Any]] = {  # what an example may have that a format has no place for; None where it has it not
    "ids": lambda example: None if example.origin and example.id.endswith(f":{example.place or example.origin.line}") else example.id,
    "documents": lambda example: example.document,
    "second texts": lambda example: example.text_b,
    "words": lambda example: None if example.words is None else f"{len(example.words)} words",
    "labels": lambda example: example.spans or example.labels or example.score,
    "meta": lambda example: [*example.meta] or None,
    "missing labels": lambda example: "read as none" if [example.spans, example.labels, example.score] == [None] * 3 else None,
    "missing second texts": lambda example: "read as empty" if example.text_b is None else None,
}
_TABLES = {"csv": (",", ""), "tsv": ("\t", '"')}  # what parts cells, and encloses names
_RECORDS = dict.fromkeys(("jsonl", "json", *_TABLES, "parquet"), (get_args(Kind), ()))
FORMATS: dict[str, tuple[Sequence[str], Sequence[str]]] = {  # the kinds of task that a format can serve, and the parts that it lacks
    "conll": (TOKEN_KINDS, ("ids", "documents", "meta", "missing labels")),
    "conllu": (("pos",), ("meta", "missing labels")),
    **_RECORDS,  # these lack what has no column
    "spans": (("ner", "chunk"), ()),
    "label-studio": (("ner", "chunk", "classify", "multilabel", "regress"), ("words",)),
    "text": (get_args(Kind), ("ids", "documents", "second texts", "words", "labels", "meta")),
}
_COLUMNS = {"documents": "doc_id", "second texts": "text_b", "words": "tokens", "meta": "meta"}
_SPAN = pa.struct([("start", pa.int64()), ("end", pa.int64()), ("label", pa.string())])
_TYPES = {"score": pa.float64(), "spans": pa.list_(_SPAN), **dict.fromkeys(("labels", "tokens", "tags"), pa.list_(pa.string()))}
_WRITTEN = ("id", "text", "text_b", "document", "labels", "spans")
_BREAKS = re.compile(r"[\t\r\n]+")
_MARK = re.compile(r"-DOCSTART-|# ")  # what readers of CoNLL take for no word
_MISTAKEN = ("\ufeff", "PAR1", "PK\3\4")  # beginnings by which a file is taken for another kind


def write_examples(out: Path | str, form: str, examples: Iterable[Example], kind: str, audit: Audit) -> int:
    """Write examples to a file, or to standard output (`-`), and return their number; `audit` gets what the format cannot hold.

    Raises ConfigError, before anything is written, for a format that cannot hold examples of this kind.
    """
    check_format(form, kind, FORMATS)
    if form in _RECORDS:
        examples = iter(examples)
        first = list(islice(examples, CHUNK))
        columns = _columns(first, kind)
        lacking = [part for part, column in _COLUMNS.items() if column not in columns]
        if form in _TABLES:  # in which an empty cell is an empty text or list
            lacking += ["missing second texts"] * ("text_b" in columns) + ["missing labels"] * (not {"spans", "labels"}.isdisjoint(columns))
        records = (_record(example, columns, kind, form, audit) for example in _accounted(chain(first, examples), form, lacking, audit))
        return write_records(out, form, records, {name: _TYPES.get(name.partition("_")[2] or name, pa.string()) for name in columns})
    examples = _accounted(examples, form, FORMATS[form][1], audit)
    if form == "spans":
        return write_records(out, "jsonl", map(_with_spans, examples), {})
    if form == "label-studio":
        return write_records(out, "json", (studio_task(example, audit) for example in examples), {})
    if form == "text":
        return write_pieces(out, (_fit(one.text, "line breaks", one, audit, re.sub(r"\r\n?|\n", " ", one.text)) + "\n" for one in examples))
    if form == "conll":
        return write_pieces(out, (_conll(example, kind, audit) for example in examples))
    return write_pieces(out, (_conllu(example, before, kind, audit) for before, example in pairwise(chain([None], examples)) if example))


def require_known(form: str, known: Iterable[str]) -> None:
    """Raise ConfigError for a format that is not among the known ones."""
    if form not in known:
        raise ConfigError(f"--to: expected one of {', '.join(known)}, found {form!r}{did_you_mean(form, known)}")


def check_format(form: str, kind: str, known: Iterable[str]) -> None:
    """Raise ConfigError for a format that is not among the known ones, or that cannot serve a kind of task."""
    require_known(form, known)
    if kind not in FORMATS[form][0]:
        others = ", ".join(other for other in known if kind in FORMATS[other][0] and other != "text")
        raise ConfigError(f"--to {form}: is for {', '.join(FORMATS[form][0])}; for {kind} use {others}")


def _accounted(examples: Iterable[Example], form: str, lacking: Collection[str], audit: Audit) -> Iterator[Example]:
    """Yield the examples without what the format has no place for, counted."""
    for example in examples:
        if form not in ESCAPED:
            clean = replace(example, **{name: _without_nul(getattr(example, name)) for name in _WRITTEN})
            if clean != example:
                audit.event("NULs replaced", clean.id, "written as U+FFFD")
                example = clean
        for part in lacking:
            if (lost := _PARTS[part](example)) is not None:
                audit.event(f"{part} lost", example.id, shown(lost))
        yield example


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, Span):
        return Span(*map(_without_nul, value))
    return tuple(map(_without_nul, value)) if isinstance(value, tuple) else value


def _columns(first: Sequence[Example], kind: str) -> list[str]:
    """Return the columns that hold the first examples: of tokens where the first of them has words, else of texts."""
    columns = ["id", *["doc_id"] * any(example.document is not None for example in first)]
    if kind == "pos" or (kind in TOKEN_KINDS and first and first[0].words is not None):
        return [*columns, "tokens", f"{kind}_tags"]
    columns += ["text", *["text_b"] * (kind not in TOKEN_KINDS and any(example.text_b is not None for example in first))]
    answer = {"classify": "label", "multilabel": "labels", "regress": "score"}.get(kind, "spans")
    return [*columns, answer, *["meta"] * any(example.meta for example in first)]


def _record(example: Example, columns: Sequence[str], kind: str, form: str, audit: Audit) -> Record:
    values: Record = {name: getattr(example, name, None) for name in columns} | {"doc_id": example.document}
    values |= {"label": example.labels[0] if example.labels else None, "spans": _spans(example)}
    values["meta"] = (dict(example.meta) if form in ("jsonl", "json") else dump(dict(example.meta))) if example.meta else None
    if "tokens" in columns:
        values["tokens"], tags, _ = _tokens(example, kind, (" ",), audit)
        values[f"{kind}_tags"] = None if example.spans is None else tags
    return {name: values[name] for name in columns}


def _spans(example: Example) -> list[Record] | None:
    return None if example.spans is None else [span._asdict() for span in example.spans]


def _with_spans(example: Example) -> Record:
    more = {name: value for name, value in (("words", example.words), ("document", example.document)) if value is not None}
    return {"id": example.id, "text": example.text, "spans": _spans(example), "meta": {**example.meta, **more}}


def studio_task(example: Example, audit: Audit, control: str | None = None) -> Record:
    """Return an example as a task of Label Studio, with its annotation if it has one; what was read from a task is that task again."""
    meta, task, key = example.meta, {}, "text"
    data: Record = {"id": example.id, "doc_id": example.document}
    if isinstance(meta.get("data"), Mapping) and isinstance(meta.get("text"), str):
        task, data, key = {"id": meta.get("task")}, dict(meta["data"]), meta["text"]
        if example.document not in (None, example.id, *map(str, data.values())):  # one of several annotations of a task
            data["doc_id"] = example.document
        if _PARTS["ids"](example) and example.id not in map(str, [*data.values(), *task.values()]):
            audit.event("ids lost", example.id, "its task has another")
    elif meta:
        audit.event("meta lost", example.id, shown([*meta]))
    data |= {key: example.text, "text_b": example.text_b}
    values: list[tuple[str, Record]] = [
        ("labels", {"start": start, "end": end, "text": example.text[start:end], "labels": [label]})
        for start, end, label in example.spans or ()
    ]
    given = meta if task else {}  # other data may have columns of the same names
    number = "rating" if given.get("type") == "rating" else "number"
    values += [(name, {name: value}) for name, value in (("choices", example.labels), (number, example.score)) if value not in (None, ())]
    names = {"from_name": control or given.get("control") or "label", "to_name": given.get("object") or "text"}
    result = [{"id": f"r{at}", **names, "type": name, "value": value} for at, (name, value) in enumerate(values, 1)]
    annotations = [{"result": result, "ground_truth": False}]  # which a server otherwise takes it for
    task, data = ({name: value for name, value in part.items() if value is not None} for part in (task, data))
    return {**task, "data": data, "annotations": [] if _PARTS["missing labels"](example) else annotations}


def _tokens(example: Example, kind: str, gaps: Collection[str], audit: Audit) -> tuple[list[str], list[str], list[str]]:
    """Return the words, their tags, and what stands after each but the last; count the text between words that is none of the gaps."""
    text, words = example.text, words_of(example)
    edges = [0, *(edge for word in words for edge in word), len(text)]
    between = [text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]
    tokens = [text[start:end] for start, end in words]
    odd = [gap for gap in between[1:-1] if gap not in gaps] + [gap for gap in (between[0], between[-1]) if gap]
    odd += [token for token in tokens if token.strip() not in ("", token)]
    if odd:
        outside = any(gap.strip() for gap in between)
        audit.event("text outside words lost" if outside else "spacing lost", example.id, f"{shown(odd[0])} beside a word")
    if not words:
        audit.event("texts without words", example.id, shown(text))
    tags = word_tags(example, words, kind, audit, "spans to write")
    return tokens, [tag or "_" for tag in tags], [*between[1:-1], " "][: len(words)]


def _fit(text: str, what: str, example: Example, audit: Audit, fitted: str | None = None) -> str:
    """Return a text as it is written, by default without line breaks and tabs; count it where that is not what it was."""
    fitted = _BREAKS.sub("_", text).strip() or "_" if fitted is None else fitted
    if fitted != text:
        audit.event(f"{what} respelt", example.id, f"{shown(text)} is written as {shown(fitted)}")
    return fitted


def _conll(example: Example, kind: str, audit: Audit) -> str:
    tokens, tags, _ = _tokens(example, kind, (" ",), audit)
    words = [" ".join(token.split()) or "_" for token in tokens]
    words = [_fit(token, "words", example, audit, "_" * bool(_MARK.match(word)) + word) for token, word in zip(tokens, words, strict=True)]
    tags = [_fit(tag, "labels", example, audit, _BREAKS.sub("_", tag)) for tag in tags]
    return "".join(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True)) + "\n"


def _conllu(example: Example, before: Example | None, kind: str, audit: Audit) -> str:
    tokens, tags, gaps = _tokens(example, kind, ("", " "), audit)
    words = [_fit(token, "words", example, audit) for token in tokens]
    lines = [f"# sent_id = {_fit(example.id, 'ids', example, audit)}"]
    lines += ["# text = " + "".join(word + " " * bool(gap) for word, gap in zip(words, gaps, strict=True)).strip()]
    if example.document != (before and before.document):
        lines.insert(0, f"# newdoc id = {_fit(example.document, 'documents', example, audit)}" if example.document else "# newdoc")
        if example.document is None:
            audit.event("documents made up", example.id, "it has none, and is not of the one before")
    for number, (word, tag, gap) in enumerate(zip(words, tags, gaps, strict=True), 1):
        lines.append("\t".join([str(number), word, "_", _fit(tag, "labels", example, audit), *"_____", "_" if gap else "SpaceAfter=No"]))
    return "\n".join(lines) + "\n\n"


def write_records(out: Path | str, form: str, records: Iterable[Record], types: Mapping[str, pa.DataType]) -> int:
    """Write records with the columns of `types`, which matter in Parquet, as jsonl, json, csv, tsv or parquet; return their number."""
    if form in _TABLES:
        mark, quote = _TABLES[form]
        rows = (mark.join(_cell(record.get(name)) for name in types) + "\n" for record in records)
        return write_pieces(out, rows, mark.join(f"{quote}{name}{quote}" for name in types) + "\n")
    if form != "parquet":
        lines = map(dump, records)
        return write_pieces(out, lines, "[\n", ",\n", "\n]\n") if form == "json" else write_pieces(out, (line + "\n" for line in lines))
    import pyarrow.parquet as pq

    if out == "-":
        raise ConfigError("--to parquet: needs a file; give --out FILE.parquet")
    count, rest, schema = 0, iter(records), pa.schema([*types.items()])
    with new_file(Path(out).absolute()) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        while group := list(islice(rest, CHUNK)):
            writer.write_table(pa.Table.from_pylist(group, schema))
            count += len(group)
    return count


def _cell(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else dump(value)
    return '"' + text.replace('"', '""') + '"' if re.search(r'[",\t\r\n]', text) else text


def dump(value: Any) -> str:
    """Return a value as JSON on one line; half of a surrogate pair is escaped."""
    return json.dumps(value, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace").decode()


def write_pieces(out: Path | str, pieces: Iterable[str], head: str = "", between: str = "", tail: str = "") -> int:
    """Write pieces with what stands before, between and after them; return their number."""
    count = 0
    with ExitStack() as stack:
        file = sys.stdout.buffer if out == "-" else stack.enter_context(stack.enter_context(new_file(Path(out).absolute())).open("wb"))
        for count, piece in enumerate(pieces, 1):
            file.write(((between if count > 1 else head or "\ufeff" * piece.startswith(_MISTAKEN)) + piece).encode())
        file.write((tail if count else head + tail).encode())
        file.flush()
    return count
