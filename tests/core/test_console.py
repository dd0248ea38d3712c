"""What a person sees: on stderr, copied to the run's log, with progress that fits a terminal and a log."""

import re
import sys
import time

import pytest

from tests.terminal import on_a_terminal
from tunny.core.console import bar, choice, copy_to, mark, progress, say, warn


def test_everything_goes_to_stderr_and_nothing_to_stdout(capsys):
    say("one")
    choice("precision", "bf16", "the processor multiplies it fast")
    warn("two labels")
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "one\nprecision: bf16 (the processor multiplies it fast)\nwarning: two labels\n"


def test_the_copy_holds_what_was_said_since_the_mark_and_inside_the_block(tmp_path):
    say("too early")
    since = mark()
    say("before")
    with copy_to(tmp_path / "run.log", since):
        say("Göteborg")
    say("too late")
    assert (tmp_path / "run.log").read_text("utf-8") == "before\nGöteborg\n"


def test_a_copy_is_appended_to_what_is_there(tmp_path):
    for line in ("first run", "resumed"):
        with copy_to(tmp_path / "run.log", mark()):
            say(line)
    assert (tmp_path / "run.log").read_text() == "first run\nresumed\n"


def test_a_copy_is_on_disk_as_soon_as_a_line_is_said(tmp_path):
    with copy_to(tmp_path / "run.log", mark()):
        say("now")
        assert (tmp_path / "run.log").read_text() == "now\n"


def test_the_copy_ends_with_its_block_even_after_an_error(tmp_path):
    with pytest.raises(KeyError), copy_to(tmp_path / "run.log", mark()):
        raise KeyError
    say("after")
    assert (tmp_path / "run.log").read_text() == ""


def test_progress_yields_every_item_in_order_and_is_silent_when_quick(capsys):
    assert list(progress(iter("abc"), "reading")) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def told(waits, capsys, monkeypatch, used=0, total=None):
    """Return what progress says of items that are waited for, and used, so many seconds."""
    clock = [0.0]

    def items():
        for seconds in waits:
            clock[0] += seconds
            yield seconds

    with monkeypatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: clock[0])
        for _ in progress(items(), "encoding", total=total, unit="texts"):
            clock[0] += used
    return [line.removeprefix("encoding: ") for line in capsys.readouterr().err.splitlines()]


def test_progress_in_a_log_is_a_line_every_ten_seconds_at_most(capsys, monkeypatch):
    assert told([4] * 7, capsys, monkeypatch, total=7) == ["2 of 7 texts, 0.2 texts/s", "5 of 7 texts, 0.2 texts/s"]


def test_the_rate_of_items_that_come_in_bursts_is_that_of_whole_bursts(capsys, monkeypatch):
    bursts = ([20] + [0] * 99) * 3  # 5 a second
    assert told(bursts, capsys, monkeypatch) == ["100 texts, 5.0 texts/s", "200 texts, 5.0 texts/s"]


def test_a_rate_is_not_said_of_items_that_were_there_before(capsys, monkeypatch):
    assert told([0] * 50 + [20] * 2, capsys, monkeypatch) == ["51 texts, 2.5 texts/s"]


def test_the_time_that_items_take_where_they_are_used_is_in_the_rate(capsys, monkeypatch):
    assert told([0] * 7, capsys, monkeypatch, used=4) == ["3 texts, 0.2 texts/s", "6 texts, 0.2 texts/s"]


def test_a_bar_in_a_log_is_its_lines_alone(capsys):
    with bar("training", 2) as shown:
        shown.advance()
        shown.say("step 1  loss 0.5", "loss 0.5", {"step": "1", "f1": "0.7"})
    assert capsys.readouterr().err == "step 1  loss 0.5\n"


ROWS = """
from pathlib import Path
from tunny.core.console import bar, copy_to, mark, progress
with copy_to(Path("run.log"), mark()), bar("training", 3) as shown:
    for step in range(3):
        list(progress(range(2), "scoring"))
        shown.advance()
        shown.say(f"line {step}", f"loss {step}", {"step": str(step), "a long name": "0.5"} if step else {})
"""


def test_a_bar_on_a_terminal_has_rows_under_one_head_and_its_lines_go_to_the_log(tmp_path):
    shown, _ = on_a_terminal([sys.executable, "-c", ROWS], tmp_path)
    assert [line for line in shown.splitlines() if re.fullmatch(r" *(step|1|2)  +\S.*\S", line)] == [
        "    step  a long name",
        "       1          0.5",
        "       2          0.5",
    ]
    assert "3/3" in shown
    assert "line" not in shown
    assert (tmp_path / "run.log").read_text() == "line 0\nline 1\nline 2\n"


def test_progress_on_a_terminal_is_a_bar_and_stdout_stays_clean(tmp_path):
    code = "from tunny.core.console import progress; print(sum(progress(range(5), 'reading', total=5)))"
    shown, printed = on_a_terminal([sys.executable, "-c", code], tmp_path)
    assert printed == "10\n"
    assert "reading" in shown
    assert "5/5" in shown
