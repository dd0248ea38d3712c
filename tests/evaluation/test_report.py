import re

from tunny.data.audit import Audit
from tunny.evaluation.folder import ceiling
from tunny.evaluation.report import markdown, number


def content(**changes):
    audit = Audit()
    audit.count("examples", 1200)
    audit.note("x.csv: columns text = body")
    for at in range(7):
        audit.event("spans trimmed", f"x:{at}", "0-5 is\nnow 0-4")
    return {
        "task": "ner", "model": "m", "data": "d|x.csv", "examples": 1200,
        "metrics": {"loss": 0.25, "f1": 0.123456, "pearson": None, "own": 1.0},
        "per_label": {"A|B": {"precision": 1.0, "recall": 0.5, "f1": 2 / 3, "support": 1234, "interval": [0.5, 0.75]}},
        "intervals": {"f1": [0.1, 0.2]}, "errors": {}, "notes": [],
        "speed": {"examples_per_second": 10.0, "seconds": 120.0}, "audit": audit.to_json(), **changes,
    }  # fmt: skip


def tables(text):
    """Rows of each table; a row's cells are parted by bars that are not escaped."""
    found = [[]]
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            found[-1].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
        elif found[-1]:
            found.append([])
    return found[:-1]


def test_every_table_has_as_many_cells_in_each_row_and_a_rule_below_its_head():
    for rows in tables(markdown(content())):
        assert {len(row) for row in rows} == {len(rows[0])}
        assert all(re.fullmatch(r"-{2,}:?", cell) for cell in rows[1])


def test_metrics_stand_in_a_fixed_order_with_four_digits_and_a_dash_for_none():
    metrics = tables(markdown(content()))[0][2:]
    assert metrics == [
        ["f1", "0.1235", "0.1000 to 0.2000"], ["pearson", "-", ""], ["loss", "0.2500", ""], ["own", "1.0000", ""],
    ]  # fmt: skip


def test_labels_with_bars_keep_their_row_whole():
    assert tables(markdown(content()))[1][2] == [r"A\|B", "1.0000", "0.5000", "0.6667", "0.5000 to 0.7500", "1,234"]


def test_without_labels_there_is_no_table_of_labels():
    assert "By label" not in markdown(content(per_label={}))


def test_events_are_on_one_line_each_and_say_how_many_more_there_are():
    text = markdown(content())
    assert text.count("- x:") == 5
    assert "0-5 is now 0-4" in text
    assert "- ... 7 in all; metrics.json lists the first 7" in text


def test_a_number_that_is_not_defined_is_a_dash():
    assert number(None) == "-"
    assert number(0.00005) == "0.0001"


def test_the_ceiling_is_said_where_tags_cannot_say_all_spans():
    audit = Audit()
    audit.take("spans to learn", 10)
    audit.give("spans to learn", 9)
    audit.drop("spans to learn", "spans inside one word", "1", "x")
    audit.repair("spans to learn", "spans snapped to words", "2", "y")
    [said] = ceiling(audit)
    assert "Of 10 gold spans the tags of words cannot say 2 (1 spans inside one word, 1 spans snapped to words)" in said
    assert said.endswith("f1 can be 0.8889 at most.")  # precision 8/8, recall 8/10
    assert ceiling(Audit()) == []
