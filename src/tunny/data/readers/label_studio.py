r"""Label Studio's JSON project export: tasks with `labels` spans or a single `choices`, by character offsets.

One annotation a task is used: of several that were not cancelled, the one updated last, and the others are counted. A
span is checked against its own `value.text`, in which the web page writes a line break as the two characters \\n. Tasks
without an annotation are unlabelled, not wrong: they are left out and counted.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tunny.core.errors import DataError
from tunny.data.example import Example, Span
from tunny.data.source import Source


def read(source: Source) -> Iterator[Example]:
    """Yield one example a task that has an annotation."""
    try:
        tasks = json.loads(source.text())
    except json.JSONDecodeError as error:
        raise DataError(f"{source.where(error.lineno)}: not valid JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in tasks):
        raise DataError(f"{source.path.name}: expected Label Studio's JSON export, a list of tasks with data and annotations")
    for number, task in enumerate(tasks, 1):
        yield from _read_task(source, f"task {task.get('id', number)}", task)


def _read_task(source: Source, place: str, task: Mapping[str, Any]) -> Iterator[Example]:
    name = str(task["data"].get("doc_id", task.get("id", place)))
    annotation = _annotation(source, place, task) if source.labels_needed else None
    try:
        text = _text(source, task["data"])
    except ValueError as error:
        source.audit.count("read")
        source.reject(place, str(error))
        return
    if annotation is None:
        if source.labels_needed:
            source.audit.count("read")
            source.audit.event("unlabelled", source.where(place), "no annotation that was not cancelled; left out")
        else:
            yield from source.accept(place, Example(name, text, document=name))
        return
    try:
        example = _example(source, place, name, text, [item for item in annotation.get("result") or [] if isinstance(item, dict)])
    except ValueError as error:
        source.audit.count("read")
        source.reject(place, str(error))
        return
    yield from source.accept(place, example)


def _text(source: Source, data: Mapping[str, Any]) -> str:
    key = source.settings.text
    if key is None:
        texts = [name for name, value in data.items() if isinstance(value, str)]
        key = "text" if "text" in texts else next(iter(texts), None)
    if key is None or not isinstance(data.get(str(key)), str):
        raise ValueError(f"no text under data.{key or 'text'}; there are: {', '.join(data)}. Set data.text")
    return str(data[str(key)])


def _annotation(source: Source, place: str, task: Mapping[str, Any]) -> Mapping[str, Any] | None:
    usable = [item for item in task.get("annotations") or [] if not item.get("was_cancelled")]
    cancelled = len(task.get("annotations") or []) - len(usable)
    if cancelled:
        source.audit.event("annotations cancelled", source.where(place), f"{cancelled} not used")
    if len(usable) > 1:
        source.audit.event("annotations not used", source.where(place), f"{len(usable) - 1} older ones; the last updated is used")
    return max(usable, key=lambda item: str(item.get("updated_at") or ""), default=None)


def _example(source: Source, place: str, name: str, text: str, result: list[Mapping[str, Any]]) -> Example:
    others = sorted({str(item.get("type")) for item in result} - {"labels" if source.for_tokens else "choices"})
    if others:
        source.audit.event("results of other kinds", source.where(place), f"{', '.join(others)}: not used")
    if source.for_tokens:
        regions = [item for item in result if item.get("type") == "labels"]
        spans = tuple(span for region in regions for span in _spans(region.get("value") or {}, text))
        return Example(name, text, spans=spans, document=name)
    values = [item.get("value") or {} for item in result if item.get("type") == "choices"]
    choices = [value.get("choices") or [] for value in values if "start" not in value]
    if not choices:
        return Example(name, text, document=name)
    if len(choices) > 1 or len(choices[0]) != 1:
        raise ValueError(f"expected one choice, found {choices}")
    return Example(name, text, labels=(source.name_of(choices[0][0]),), document=name)


def _spans(value: Mapping[str, Any], text: str) -> Iterator[Span]:
    start, end = value.get("start"), value.get("end")
    if not isinstance(start, int) or not isinstance(end, int):
        raise ValueError(f"expected start and end of a span as whole numbers, found {start!r} and {end!r}")
    found = text[start:end]
    written = value.get("text")
    if isinstance(written, str) and _flat(written) != _flat(found) and 0 <= start < end <= len(text):
        raise ValueError(f"span {start}-{end} should read {written!r}, but the text there is {found!r}")
    for label in value.get("labels") or []:
        yield Span(start, end, str(label))


def _flat(text: str) -> str:
    return "".join(text.replace("\\n", "\n").split())
