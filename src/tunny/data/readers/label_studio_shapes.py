r"""What Label Studio writes: tasks in several shapes, each brought into that of its JSON project export, and what annotations say.

Shapes are a list or lines of tasks (export, snapshot, import file; `completions` is the old name of `annotations`), a file an annotation
with its task (target storage), and a row an annotation (JSON-MIN, CSV, TSV), in which a string may be data, a choice or a note.
A span that reads otherwise than its `value.text` (in which line breaks are the two characters \n) is moved to the only place of that
text within NEAR characters, or else in the whole text; where there is none or several, it is bad.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, groupby
from typing import Any

from tunny.data.cells import as_score, shown
from tunny.data.example import Row, Span
from tunny.data.json_stream import loads, parsed
from tunny.data.readers.json_records import list_elements
from tunny.data.readers.table import Table
from tunny.data.source import Source

NEAR = 20  # characters
KNOWN_KEYS = ("doc_id", "document_id", "gdd_id", "id", "lang", "language")  # of data; gdd_id is MetaExtractor's
_ROW = {"annotation_id", "annotator"}
_NO_DATA = _ROW | {"id", "created_at", "updated_at", "lead_time", "agreement", "history"}
_RENAMED = "_data_"  # before the name of a column of data where a control has that name
_SPANS = ("labels", "hypertextlabels", "paragraphlabels")
_TYPES = {"ner": _SPANS, "chunk": _SPANS, "classify": ("choices",), "multilabel": ("choices",), "regress": ("rating", "number")}
_LESSER = "rows of JSON-MIN and tables hold no cancelled annotations, drafts, predictions, relations or ground truth; the JSON export does"
_SPACE = re.compile(r"\\n|\s+")


class Unused(Exception):
    """A thing that is left out though nothing is wrong with it: the reason and the detail."""


def tasks(source: Source) -> Iterator[Row]:
    """Yield the tasks of a file in order; of a table its head first."""
    controls = {source.settings.control or ""}
    in_table = False
    for row_id, group in groupby(_elements(source), lambda task: _row_id(task) or task.line):
        first, *others = group
        is_head = not first.line and not first.problem
        in_table |= is_head
        if isinstance(row_id, str):
            same = [first, *others]
            raw = ("" if in_table else ",\n").join(row.raw for row in same)
            yield Row(first.line, raw, _of_rows(source, [row.value for row in same], controls, in_table))
            source.audit.note(f"{source.path.name}: {_LESSER}")
        else:
            yield first if first.problem or is_head else _whole(first)


def _elements(source: Source) -> Iterator[Row]:
    with source.text(newline="") as file:
        head = file.read(1 << 12).lstrip("\ufeff \t\r\n")
    columns = head.partition("\n")[0]
    if source.is_list:
        yield from list_elements(source)
    elif head.startswith("{"):
        lines = (parsed(number, line) for number, line in source.lines() if line.strip())
        first, second = next(lines), next(lines, None)
        if second is not None and not (first.problem and second.problem):  # an object a line
            yield from chain((first, second), lines)
        else:
            with source.text(newline="") as file:
                yield parsed(1, file.read())
    elif "annotation_id" in columns:
        quoting = "csv" if source.settings.quoting == "auto" else source.settings.quoting  # cells of several lines are always quoted
        delimiter = source.settings.delimiter or ("\t" if "\t" in columns else ",")
        settings = source.settings.model_copy(update={"quoting": quoting, "header": True, "delimiter": delimiter})
        yield from Table(replace(source, settings=settings), by_words=False).rows()
    else:
        yield Row(1, head, problem=f"expected a JSON, CSV or TSV export of Label Studio, found {shown(head) if head else 'nothing'}")


def _row_id(task: Row) -> str:
    """Return by what the rows of one task are known, "" where the element is no row."""
    row = task.value if isinstance(task.value, dict) else {}
    return "" if not row.keys() >= _ROW or isinstance(row.get("data"), dict) else plain(row.get("id")) or f"row {task.line}"


def _whole(task: Row) -> Row:
    """Return a task as it is, or that of a single annotation."""
    value = task.value
    if not isinstance(value, dict):
        return task._replace(problem=f"expected a task of Label Studio as an object, found {shown(value)}")
    if "result" in value:
        holder = value["task"] if isinstance(value.get("task"), dict) else value
        value = {"id": holder.get("id"), "data": holder.get("data"), "annotations": [value]}
    if not isinstance(value.get("data"), dict):
        return task._replace(problem=f"expected a task of Label Studio with an object data; there are: {', '.join(task.value)[:200]}")
    return task._replace(value=value)


def _of_rows(source: Source, rows: list[dict[str, Any]], controls: set[str], in_table: bool) -> dict[str, Any]:
    """Return the task of rows that are its annotations, the newest first.

    Answers are values of the form that results have, and strings of `controls`, which grows by the names that can be nothing
    else: those that have a renamed column, those after `id` in JSON-MIN; in tables of choices all not known to be data.
    """
    wanted, annotations = source.settings, []
    text = wanted.text or ("" if _RENAMED + "text" in rows[0] else "text")
    known = (_NO_DATA | {*KNOWN_KEYS, text, wanted.text_b, wanted.id, wanted.group_by}) - controls
    for row in (row for row in reversed(rows) if row["annotation_id"] not in (None, "")):
        keys, order = [key for key in row if key not in known and not key.startswith(_RENAMED)], [*row]
        answers = keys if source.labels_needed and source.kind in ("classify", "multilabel") else []
        if not in_table and "id" in row and order.index("id") < order.index("annotator"):
            answers = order[order.index("id") : order.index("annotator")]
        controls.update(key for key in keys if _RENAMED + key in row or (wanted.control is None and key in answers))
        result = [item for key in keys for item in _results(key, row[key], key in controls)]
        controls.update(item["from_name"] for item in result)
        dates = {name: row.get(name) for name in ("created_at", "updated_at")}
        annotations.append({"id": row["annotation_id"], "completed_by": row["annotator"], "result": result, **dates})
    data = {key.removeprefix(_RENAMED): value for key, value in rows[0].items() if key not in controls | _NO_DATA}
    return {"id": rows[0].get("id"), "data": data, "annotations": annotations}


def _results(control: str, cell: Any, strings: bool) -> Iterator[dict[str, Any]]:
    if isinstance(cell, str) and cell[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            cell = loads(cell)
    for item in cell if isinstance(cell, list) else [cell]:
        if isinstance(item, str) and item and strings:
            yield {"from_name": control, "type": "choices", "value": {"choices": [item]}}
        elif kind := _type_of(item):
            yield {"from_name": control, "type": kind, "value": item}


def _type_of(value: Any) -> str:
    """Return the type of a result by its value, "" where it is none."""
    names = [*value] if isinstance(value, dict) else []
    known = [name for name in names if name in ("choices", "rating", "number", "taxonomy") or name.endswith("labels")]
    return known[0] if known else "textarea" if names and isinstance(value.get("text"), list) else ""


class Answer:
    """An annotation: the values of its results that count, and why the others do not."""

    def __init__(self, source: Source, annotation: Mapping[str, Any], text: str, number: int):
        made = annotation.get("completed_by")
        person = plain(made.get("id", made.get("email")) if isinstance(made, dict) else made)
        self.annotator, self.by = person or f"number {number}", {"annotator": person} if person else {}
        self.annotation, self.name = annotation, plain(annotation.get("id")) or f"{number}"
        self.controls: dict[str, str] = {}  # of the wanted types, with the name of what they label
        self.results: list[tuple[list[Any], str]] = []  # values, and how the span was moved
        self.unused: Counter[tuple[str, str]] = Counter()
        self.bad: list[str] = []
        self.number: dict[str, str] = {}  # the type of a number, where it is one
        for result in annotation.get("result") or ():
            try:
                self.results.append(self._read(source, result, text))
            except Unused as why:
                self.unused[why.args] += 1
            except ValueError as error:
                self.bad.append(str(error))
        self.values = [value for values, _ in self.results for value in values]  # all spans, choices or numbers

    def _read(self, source: Source, result: Any, text: str) -> tuple[list[Any], str]:
        value = result.get("value") if isinstance(result, dict) else None
        typed = result.get("type") or _type_of(value) if isinstance(result, dict) else None
        if isinstance(typed, str) and typed not in _TYPES[source.kind]:
            raise Unused("relations" if typed == "relation" else "other kinds of results", f"{typed}, not used for {source.kind}")
        if not isinstance(typed, str) or not isinstance(value, dict):
            raise ValueError(f"expected a result with a type and an object value, found {shown(result)}")
        if typed not in _SPANS and "start" in value:
            raise Unused("results of a part of the text", f"{typed}, not used for {source.kind}")
        name, said = plain(result.get("from_name")), value.get(typed)
        self.controls[name] = plain(result.get("to_name"))
        if source.settings.control not in (None, name):
            raise Unused("other controls", f"{name}, which is not data.control")
        if typed in ("rating", "number"):
            self.number = {"type": typed}
            return [as_score(None if isinstance(said, bool) else said)], ""
        if not isinstance(said, list) or not all(isinstance(item, str) and item for item in said):
            raise ValueError(f"expected {typed} as a list of names, found {shown(said)}")
        start, end = value.get("start"), value.get("end")
        if typed == "choices":
            return said, ""
        if not said or (typed != "labels" and isinstance(start, str)):  # of HTML and dialogues: places in their elements
            raise Unused("spans of no plain text" if said else "spans without a label", f"{typed} from {shown(start)} to {shown(end)}")
        if not type(start) is type(end) is int:
            raise ValueError(f"expected start and end of a span as whole numbers, found {shown(start)} and {shown(end)}")
        place = _place(start, end, value.get("text"), text)
        moved = "" if place == (start, end) else f"{start}-{end} is now {place[0]}-{place[1]}: {shown(text[slice(*place)])}"
        return [Span(*place, label) for label in said], moved


def plain(value: Any) -> str:
    """Return a name or a date as text, "" for what is neither."""
    return str(value) if isinstance(value, (str, int, float)) else ""


def _place(start: int, end: int, written: Any, text: str) -> tuple[int, int]:
    """Return where a span is; raise ValueError where that cannot be known."""
    found = text[start:end] if 0 <= start < end <= len(text) else ""
    if found and (not isinstance(written, str) or _SPACE.sub("", written) == _SPACE.sub("", found)):
        return start, end
    pattern = r"\s+".join(map(re.escape, _SPACE.sub(" ", plain(written)).split()))
    places = [match.span(1) for match in re.finditer(f"(?=({pattern}))", text)] if pattern else []
    near = [place for place in places if abs(place[0] - start) <= NEAR]
    if len(near) == 1 or len(places) == 1:
        return (near or places)[0]
    if found:
        raise ValueError(f"span {start}-{end} should read {shown(written)}, but the text there is {shown(found)}")
    raise ValueError(f"span {start}-{end} is empty or lies outside the text, which has {len(text)} characters")
