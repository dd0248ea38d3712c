import io
import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.reading import Reading, written
from tunny.core.errors import DataError
from tunny.data import json_stream
from tunny.data.json_stream import JSONProblem, as_record, elements, loads

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12,
)  # fmt: skip


@given(
    values=st.lists(VALUES, max_size=8),
    indent=st.sampled_from([None, 1]),
    escaped=st.booleans(),
    block=st.sampled_from([1, 2, 7, 64, 1 << 20]),
)
@settings(max_examples=100, deadline=None)
def test_the_elements_are_those_of_the_json_module(values, indent, escaped, block):
    written = json.dumps(values, indent=indent, ensure_ascii=escaped)
    before, json_stream.BLOCK = json_stream.BLOCK, block
    try:
        found = list(elements(io.StringIO(written, newline="")))
    finally:
        json_stream.BLOCK = before
    assert [element.value for element in found] == values
    assert [json.loads(element.raw) for element in found] == values


def test_each_element_knows_its_number_and_text():
    found = list(elements(io.StringIO('\n[\n {"a": 1},\n\n {"b":\n 2}, 3]')))
    assert [(element.line, element.raw) for element in found] == [(1, '{"a": 1}'), (2, '{"b":\n 2}'), (3, "3")]


BROKEN = {  # text, line and what is wrong there
    "no list": ("{}", 1, "expected a JSON list"),
    "nothing": ("", 1, "expected a JSON list"),
    "an element cut off": ('[\n{"a": 1},\n{"a":', 3, "not valid JSON"),
    "a string cut off": ('[\n"a",\n"b', 3, "not valid JSON: Unterminated string"),
    "the list cut off": ("[1,\n2", 2, "expected , or ] after an element of the list, found 'the end of the file'"),
    "the list cut off after a comma": ("[1,\n", 2, "not valid JSON"),
    "no comma": ('[{"a": 1}\n{"a": 2}]', 2, "expected , or ] after an element of the list, found '{'"),
    "no colon": ('[\n\n{"a" 1}]', 3, "not valid JSON: Expecting ':'"),
    "an error in a later line of an element": ('[{"a": 1,\n "b": x}]', 2, "not valid JSON: Expecting value"),
    "a line break in a string": ('[{"a": "one\ntwo"}]', 1, "not valid JSON: Invalid control character"),
    "something after the list": ("[1]\n\n2", 3, "expected the end of the file after the list, found '2'"),
    "another list": ("[1]\n[2]", 2, "expected the end of the file after the list, found '['"),
    "another end of the list": ("[1]\n]", 2, "expected the end of the file after the list, found ']'"),
    "an endless number": ("[\n" + "9" * 5_000 + "]", 2, "not readable JSON: Exceeds the limit"),
    "a list a million deep": ("[" * 1_000_000, 1, "not readable JSON: it is nested too deeply"),
    "an object a million deep": ('[\n{"a":' + '{"a":' * 1_000_000, 2, "not readable JSON: it is nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_with_its_line(name):
    text, line, message = BROKEN[name]
    with pytest.raises(JSONProblem) as caught:
        list(elements(io.StringIO(text, newline="")))
    assert (caught.value.line, str(caught.value)[: len(message)]) == (line, message)


def test_elements_before_the_broken_one_are_given():
    found = elements(io.StringIO('[{"a": 1}, {"a": 2}, {"a"'))
    assert [next(found).value, next(found).value] == [{"a": 1}, {"a": 2}]
    with pytest.raises(JSONProblem):
        next(found)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "9" * 5_000, '"\\ud8', "NaN1", ""])
def test_whatever_is_wrong_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"."):
        loads(text)


def test_a_pair_is_a_record_of_a_text():
    assert as_record(["Oslo", {"entities": []}]) == {"text": "Oslo", "entities": []}
    assert [as_record(value) for value in (["Oslo"], ["Oslo", []], [1, {}], "Oslo", 1, None)] == [None] * 6


class Endless(io.TextIOBase):
    """A list of so many records that is made as it is read."""

    def __init__(self, number, record='{"text": "fair wind and a calm sea", "label": "good"}'):
        self.left, self.record, self.rest = number, record, "["

    def read(self, size=-1):
        while len(self.rest) < size and self.left:
            self.left -= 1
            self.rest += self.record + (",\n" if self.left else "]")
        part, self.rest = self.rest[:size], self.rest[size:]
        return part


@pytest.mark.parametrize("number", [5_000, 40_000])
def test_memory_does_not_grow_with_the_list(number):
    tracemalloc.start()
    total = sum(1 for _ in elements(Endless(number)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (total, peak < 8 << 20) == (number, True)


def test_a_truncated_list_keeps_what_is_whole_in_quarantine(tmp_path):
    content = json.dumps([{"text": f"text {number}", "label": "x"} for number in range(50)], indent=1)
    found = Reading(written(tmp_path, "a.json", content[:-20]), "classify", on_error="quarantine")
    assert [example.text for example in found] == [f"text {number}" for number in range(49)]
    assert found.audit.events["quarantined"][0]["detail"].endswith("nothing after it can be read")


def test_a_truncated_list_stops_with_its_line(tmp_path):
    content = json.dumps([{"text": "fine", "label": "x"}] * 3, indent=1)
    with pytest.raises(DataError, match=r"a\.json:12: not valid JSON"):
        Reading(written(tmp_path, "a.json", content[: content.rindex(":")]), "classify")
