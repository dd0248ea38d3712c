"""Whatever a file holds: examples or one clear message, never another exception, and in quarantine the rest is read and accounted for."""

import io
import json
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.data.reading import written
from tunny.core.errors import DataError
from tunny.data.audit import Audit
from tunny.data.columns import USUAL
from tunny.data.labels import given_names
from tunny.data.read import FORMATS, read, sources
from tunny.data.settings import DataSettings
from tunny.data.store import to_rows

KINDS = ("ner", "pos", "classify", "multilabel", "regress")
TASK = {
    "id": 1, "data": {"text": "Anna left Oslo"}, "annotations": [{"id": 1, "result": [
        {"id": "a", "from_name": "label", "to_name": "text", "type": "labels", "value": {"start": 0, "end": 4, "text": "Anna", "labels": ["PER"]}},
        {"id": "b", "from_name": "tone", "to_name": "text", "type": "choices", "value": {"choices": ["calm"]}},
    ]}],
}  # fmt: skip
RECORDS = [
    {"id": f"{number}", "text": "Anna left Oslo", "spans": [{"start": 0, "end": 4, "label": "PER"}], "label": "x"} for number in range(4)
]
TABLE = 'text,label\n"one, two",x\nthree,y\n"four\nfive",x\nsix,y\n'


def parquet():
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": ["one", "two"], "label": ["x", "y"], "tokens": [["a"], ["b"]], "tags": [["O"], ["B-X"]]}), sink)
    return sink.getvalue()


SAMPLES = {  # format and a file of it
    "conll": "Anna\tB-PER\nleft\tO\n\nOslo\tB-LOC\n\n-DOCSTART-\tO\n\nRiga\tB-LOC\n",
    "conllu": "# newdoc\n1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\t_\n1\tdo\t_\tAUX\t_\t_\t_\t_\t_\t_\n2\tn't\t_\tPART\t_\t_\t_\t_\t_\tSpaceAfter=No\n\n"
    + "1\tgo\t_\tVERB\t_\t_\t_\t_\t_\t_\n1.1\tgo\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n",
    "jsonl": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "spans": "".join(json.dumps(record) + "\n" for record in RECORDS),
    "json": json.dumps(RECORDS, indent=1),
    "csv": TABLE,
    "tsv": "text\tlabel\none\tx\nthree\ty\nfour\tx\nsix\ty\n",  # without quotes: one stray quote changes what all others mean
    "label-studio": json.dumps([TASK, TASK]),
    "glue:RTE": "index\tsentence1\tsentence2\tlabel\n0\tOne.\tTwo.\tentailment\n1\tOne.\tTwo.\tnot_entailment\n",
    "glue:CoLA": "a\t1\t\tOne.\na\t0\t*\tTwo.\n",
    "text": "one\ntwo\n\nthree\n",
    "parquet": parquet(),
}  # fmt: skip
RAW = {name: content if isinstance(content, bytes) else content.encode() for name, content in SAMPLES.items()}
OWN = {"conll": "ner", "conllu": "pos", "label-studio": "ner", "text": "classify"}  # the kind that a sample is for


def attempt(path, kind="classify", *, labels_needed=True, **chosen):
    """Read a file as far as it goes; return its examples, the audit, and the message where it was refused."""
    audit, found = Audit(), []
    settings = DataSettings(**chosen)
    try:
        for example in read([str(path)], settings, kind, audit, names=given_names(settings), labels_needed=labels_needed):
            found.append(example)
    except DataError as error:
        message = str(error)
    else:
        message = None
        audit.settle()
    to_rows(found)  # what was read can be kept
    assert message is None or path.name in message
    assert audit.flow("examples").given == len(found)
    return found, audit, message


def both_ways(path, kind, form, labels_needed=True):
    """Read in both ways; quarantine goes on where stopping stops, and its rows can be shown."""
    stopped, _, message = attempt(path, kind, format=form, labels_needed=labels_needed)
    found, audit, _ = attempt(path, kind, format=form, on_error="quarantine", labels_needed=labels_needed)
    assert [example.text for example in found[: len(stopped)]] == [example.text for example in stopped]
    if message is None:
        assert (len(found), audit.rejected) == (len(stopped), [])
    if found:
        (source,) = sources([str(path)], DataSettings(format=form, on_error="quarantine"), kind, Audit(), None, labels_needed)
        rows = FORMATS[source.format].rows(source)
        assert form == "parquet" or {example.origin.line for example in found} <= {row.line for row in rows}
    return found


FUZZED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANY_FORM = st.sampled_from([*SAMPLES, "auto"])


@given(content=st.binary(max_size=300), form=ANY_FORM, kind=st.sampled_from(KINDS), labels_needed=st.booleans())
@settings(FUZZED, max_examples=400)
def test_any_bytes_as_any_format(tmp_path, content, form, kind, labels_needed):
    both_ways(written(tmp_path, "a.any", content), kind, form, labels_needed)


PIECES = ['"', "'", ",", "\t", "\n", "\r\n", "\r", " ", "{", "}", "[", "]", ":", "\\", "\0", "a", "O", "B-X", "1", "-", ".", "null", "\ufeff", "é", "\ud800",
          "#", "# id = 1", "-DOCSTART-", "_", "1-2", "1.1", '"text"', '"label"', "9" * 30]  # fmt: skip


@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=60),
    form=ANY_FORM,
    kind=st.sampled_from(KINDS),
    encoding=st.sampled_from(["utf-8", "utf-16"]),
)
@settings(FUZZED, max_examples=400)
def test_any_order_of_the_signs_that_formats_are_made_of(tmp_path, pieces, form, kind, encoding):
    both_ways(written(tmp_path, "a.any", "".join(pieces).encode(encoding, "surrogatepass")), kind, form)


CHANGE = st.tuples(
    st.floats(0, 1),
    st.sampled_from(["cut", "drop", "put"]),
    st.sampled_from([piece.encode("utf-8", "replace") for piece in PIECES] + [b"\xff"]),
)


@pytest.mark.parametrize("form", SAMPLES)
@given(changes=st.lists(CHANGE, min_size=1, max_size=4), kind=st.sampled_from(KINDS))
@FUZZED
def test_a_good_file_with_some_bytes_changed(tmp_path, form, changes, kind):
    raw = RAW[form]
    for share, change, piece in changes:
        at = int(share * len(raw))
        raw = raw[:at] if change == "cut" else raw[:at] + (raw[at + 1 :] if change == "drop" else piece + raw[at:])
    both_ways(written(tmp_path, "a.any", raw), kind, form)


@pytest.mark.parametrize("form", [form for form in SAMPLES if form != "parquet"])
def test_a_file_cut_anywhere_keeps_what_stands_before_the_cut(tmp_path, form):
    kind, labels_needed = OWN.get(form, "classify"), form != "text"
    whole, _, message = attempt(written(tmp_path, "a.any", RAW[form]), kind, format=form, labels_needed=labels_needed)
    assert message is None
    for cut in range(len(RAW[form])):
        found = both_ways(written(tmp_path, "a.any", RAW[form][:cut]), kind, form, labels_needed)
        assert [example.text for example in found[:-1]] == [example.text for example in whole[: max(len(found) - 1, 0)]]


@pytest.mark.parametrize("form", ["conll", "conllu", "jsonl", "tsv", "csv", "glue:RTE", "glue:CoLA"])
@pytest.mark.parametrize("piece", [b"\0", b"\xff", b'"'])
def test_one_bad_byte_anywhere_costs_no_more_than_its_rows(tmp_path, form, piece):
    kind = OWN.get(form, "classify")
    whole, _, _ = attempt(written(tmp_path, "a.any", RAW[form]), kind, format=form)
    body = RAW[form].index(b"\n") + 1  # not in the header
    for at in range(body if form in ("csv", "tsv", "glue:RTE") else 0, len(RAW[form])):
        found, audit, _ = attempt(
            written(tmp_path, "a.any", RAW[form][:at] + piece + RAW[form][at:]), kind, format=form, on_error="quarantine"
        )
        lost = {example.text for example in whole} - {example.text for example in found}
        assert len(lost) <= 2, (at, lost, audit.rejected)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats() | st.text(max_size=5) | st.sampled_from(["O", "B-X", "accept", "", "[", '["a"]']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["start", "end", "label", "words", "document", "a"]), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(
    records=st.lists(st.dictionaries(st.sampled_from(sorted(USUAL)), VALUES, max_size=6), min_size=1, max_size=3), kind=st.sampled_from(KINDS),
    form=st.sampled_from(["json", "jsonl", "label-studio"]), labels_needed=st.booleans(),
)  # fmt: skip
@settings(FUZZED, max_examples=400)
def test_any_value_under_any_usual_key(tmp_path, records, kind, form, labels_needed):
    content = "".join(json.dumps(record) + "\n" for record in records) if form == "jsonl" else json.dumps(records)
    both_ways(written(tmp_path, "a.any", content), kind, form, labels_needed)


@given(
    cells=st.lists(st.lists(VALUES, min_size=2, max_size=4), min_size=1, max_size=3),
    kind=st.sampled_from(KINDS),
    names=st.permutations(sorted(USUAL)),
)
@settings(FUZZED, max_examples=200)
def test_any_value_in_any_cell(tmp_path, cells, kind, names):
    head = "\t".join(names[: len(cells[0])])
    rows = ["\t".join(json.dumps(cell) if isinstance(cell, (list, dict)) else str(cell) for cell in row) for row in cells]
    both_ways(written(tmp_path, "a.any", "\n".join([head, *rows]).encode("utf-8", "replace")), kind, "tsv")


DEEP = 1_000_000
NESTED = {
    "jsonl": '{"text": "fine", "label": "x"}\n{"text": "fair", "label": ' + "[" * DEEP + "\n" + '{"text": "fine", "label": "x"}\n',
    "json": '[{"text": "fine", "label": "x"}, {"text": "fair", "label": ' + '{"a":' * DEEP,
    "csv": "text,label\nfine,x\nfair," + "[" * DEEP + "\nfine,x\n",
    "tsv": "text\tlabel\nfine\tx\nfair\t" + "[" * DEEP + "\nfine\tx\n",
    "label-studio": json.dumps([TASK])[:-1] + ', {"data": ' + "[" * DEEP,
    "conll": "a\tO\n\n" + "[" * DEEP + "\n",
}  # fmt: skip


@pytest.mark.parametrize("form", NESTED)
def test_a_million_brackets_are_one_row(tmp_path, form):
    kind = {"conll": "ner", "label-studio": "ner", "csv": "multilabel", "tsv": "multilabel"}.get(form, "classify")
    found = both_ways(written(tmp_path, "a.any", NESTED[form]), kind, form)
    assert len(found) == {"jsonl": 2, "csv": 3, "tsv": 3}.get(form, 1)  # in a cell they are a label


@pytest.mark.parametrize("depth", range(900, 1_000, 7))
def test_nesting_about_as_deep_as_python_goes(tmp_path, depth):
    deep = "[" * depth + "]" * depth
    for record in (f'{{"text": "fine", "label": {deep}}}', f'{{"text": "fine", "label": "x", "meta": {{"a": {deep}}}}}', deep):
        for form in ("json", "jsonl", "label-studio"):
            both_ways(written(tmp_path, "a.any", f"[{record}]" if form != "jsonl" else record), "classify", form)


LARGE = 100_000_000
ONE_LINE = {
    "jsonl": lambda write: [write('{"text": "'), *(write("fair wind ") for _ in range(LARGE // 10)), write('", "label": "x"}\n')],
    "json": lambda write: [write('[{"text": "'), *(write("fair wind ") for _ in range(LARGE // 10)), write('", "label": "x"}]\n')],
    "csv": lambda write: [write('text,label\n"'), *(write("fair wind ") for _ in range(LARGE // 10)), write('",x\n')],
    "conll": lambda write: [write("a\tO\n\n"), *(write("fair wind ") for _ in range(LARGE // 10))],
    "auto": lambda write: [write("fair wind ") for _ in range(LARGE // 10)],
}  # fmt: skip
MEASURED = """
import resource, sys
from tests.data.test_fuzz import attempt
from pathlib import Path
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found, _, message = attempt(Path(sys.argv[1]), sys.argv[2], format=sys.argv[3], on_error="quarantine", labels_needed=sys.argv[3] != "auto")
print(len(found), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, message)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ONE_LINE)
def test_a_line_of_a_hundred_million_bytes_takes_a_few_times_its_size(tmp_path, form):
    path = tmp_path / "a.any"
    with path.open("w") as file:
        ONE_LINE[form](file.write)
    command = [sys.executable, "-c", MEASURED, str(path), "ner" if form == "conll" else "classify", form]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    number, mebibytes, message = done.stdout.strip().split(" ", 2)
    assert (int(number), message) == (1, "None")
    assert int(mebibytes) < 1_000
