import re

import pytest
from jinja2 import UndefinedError

from tests.data.checking import checked, entities
from tests.pages import EVIL, Page
from tunny.core.page import render, table


@pytest.fixture
def page(tmp_path):
    rows = [entities(f"{number} came to {EVIL}", (EVIL, "<LOC>")) for number in range(12)]
    rows += [
        entities(f"so said {EVIL}", (EVIL, "ORG")),
        entities(f"{EVIL} is cold"),
        entities(f"{EVIL} is cold", (EVIL, "ORG")),
        entities("a\ufffdb"),
    ]
    return render("check.html", checked(tmp_path, "ner", train=rows, validation=rows[:2]))


def test_texts_and_labels_are_escaped(page):
    assert [tag for tag, _ in Page(page).tags].count("script") == 1
    assert "alert('x')" not in page
    assert EVIL in "".join(Page(page).texts)


def test_the_page_refers_to_nothing_outside_itself(page):
    for _, attributes in Page(page).tags:
        for name in ("src", "href", "action", "data", "srcset", "poster"):
            assert attributes.get(name, "#").startswith("#")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub(r"<script>.*?</script>", "", page, flags=re.S))


def test_the_page_forbids_the_browser_to_load_anything(page):
    policy = next(attributes["content"] for tag, attributes in Page(page).tags if attributes.get("http-equiv"))
    assert policy.startswith("default-src 'none'")


def test_every_verdict_leads_to_a_section(page):
    assert Page(page).links()
    assert set(Page(page).links()) <= set(Page(page).ids())


def test_the_page_has_light_and_dark_and_fits_a_phone(page):
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


@pytest.mark.parametrize("kind", ["classify", "multilabel", "regress"])
def test_every_kind_of_task_has_a_page(tmp_path, kind):
    rows = [{"text": f"text {number}", "label": number % 3, "score": number / 7} for number in range(5)]
    assert "What the data hold" in render("check.html", checked(tmp_path, kind, data=rows))


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(UndefinedError):
        render("check.html", {"kind": "ner"})


def test_the_lines_of_a_table_are_equally_long():
    assert len({len(line) for line in table(["a", "b"], [["long name", "1"], ["x", "12.3456"]]).splitlines()}) == 1


def test_columns_of_numbers_stand_to_the_right_and_others_to_the_left():
    rows = [["b|c", "0.5", 1200, 0.25, "-", "9.5%"], ["d\ne", "x", 3, 1.0, "0.1", ""]]
    assert table(["a", "mixed", "whole", "real", "dash", "share"], rows).splitlines() == [
        "| a    | mixed | whole | real | dash | share |",
        "| ---- | ----- | ----: | ---: | ---: | ----- |",
        "| b\\|c | 0.5   | 1,200 | 0.25 |    - | 9.5%  |",
        "| d e  | x     |     3 |    1 |  0.1 |       |",
    ]
