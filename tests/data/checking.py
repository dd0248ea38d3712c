"""What the tests of `tunny check` share: splits from rows, and the findings about them."""

import json

from tests.data.reading import written
from tunny.data.check import check
from tunny.data.prepare import read_splits
from tunny.data.settings import DataSettings


def splits_of(folder, kind="classify", **rows):
    """Write the rows of each split as JSON lines and read them; a text alone is a row with the label good."""
    paths = {}
    for name, some in rows.items():
        records = [{"text": row, "label": "good"} if isinstance(row, str) else row for row in some]
        paths[name] = [str(written(folder, f"{name}.jsonl", "".join(json.dumps(record) + "\n" for record in records)))]
    return read_splits(paths, dict.fromkeys(paths, DataSettings()), kind).splits


def checked(folder, kind="classify", encoder=None, **rows):
    return check(splits_of(folder, kind, **rows), kind, encoder)


def entities(text, *spans):
    """Return a row with spans, each given as its words and its label."""
    found = [{"start": text.index(form), "end": text.index(form) + len(form), "label": label} for form, label in spans]
    return {"text": text, "spans": found}


def said(findings, level):
    return [verdict["text"] for verdict in findings["verdicts"] if verdict["level"] == level]


def places(suspect):
    return [place["where"] for place in suspect["places"]]
