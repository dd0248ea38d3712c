"""What the tests of Label Studio's exports share: tasks, annotations and results as a server would write them."""

import csv
import io
import json

from tests.data.reading import Reading, written

TEXT = "Anna came to Oslo."


def span(start, end, *labels, text=None, **more):
    value = {"start": start, "end": end, "labels": list(labels)} | ({} if text is None else {"text": text})
    return {"type": "labels", "from_name": "label", "to_name": "text", "value": value} | more


def choice(*names, control="topic"):
    return {"type": "choices", "from_name": control, "value": {"choices": list(names)}}


def number(typed, value, control="stars"):
    return {"type": typed, "from_name": control, "value": {typed: value}}


def annotation(*result, cancelled=False, updated="2025-01-01T00:00:00Z", **more):
    return {"was_cancelled": cancelled, "updated_at": updated, "result": list(result)} | more


def by(*annotators):
    """Return annotations of several people, each given with the results that he or she made."""
    return [annotation(*result, completed_by=who, id=10 * who) for who, result in annotators]


def task(*annotations, number=7, **data):
    return {"id": number, "data": data or {"text": TEXT}, "annotations": list(annotations)}


def read(folder, *tasks, kind="ner", **settings):
    return Reading(written(folder, "export.json", json.dumps(list(tasks))), kind, format="label-studio", **settings)


def flow(reading, unit):
    found = reading.audit.flow(unit)
    return found.taken, found.kept, dict(found.repaired), dict(found.dropped)


def texts(example):
    return [(example.text[start:end], label) for start, end, label in example.spans]


def table(rows, delimiter=","):
    """Return rows of JSON-MIN as Label Studio writes them into a table: columns in order of their names, JSON in cells."""
    names = sorted({name for one in rows for name in one})
    file = io.StringIO()
    writer = csv.DictWriter(file, names, quoting=csv.QUOTE_NONNUMERIC, delimiter=delimiter)
    writer.writeheader()
    writer.writerows({key: json.dumps(value) if isinstance(value, (list, dict)) else value for key, value in one.items()} for one in rows)
    return file.getvalue()
