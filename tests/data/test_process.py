"""Processors: the same results in one process and in several, nothing lost, failures named."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import count, islice
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tests.data.processors import Deadly, Double, Gives, Lost, Note, Pair, Place, Short, Spoils, Uneven, Unready
from tunny.core.errors import ConfigError, DataError, ProcessorFailed
from tunny.data.process import PLACES, RESULTS, DataProcessor, Failure, partition, process_batch, process_batches

workers = pytest.mark.parametrize("workers", [1, 2])


@workers
def test_results_are_in_the_order_of_the_items_and_analyze_sees_them_all(workers):
    done = Double().run(range(300), workers=workers)
    assert done.results == [{"number": number, "double": 2 * number} for number in range(300)]
    assert (done.analysis, done.failures) == ([2 * number for number in range(300)], [])


def test_a_slow_first_item_keeps_its_place():
    assert Uneven().run(range(40), workers=2).results == list(range(40))


@workers
def test_every_item_is_processed_exactly_once(workers, tmp_path):
    Note(tmp_path / "notes").run(range(500), workers=workers)
    assert sorted(map(int, (tmp_path / "notes").read_text().split())) == list(range(500))


def test_workers_are_processes_of_one_thread_and_each_sets_up_once(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    results = Place().run(range(60), workers=2).results
    assert len({result["process"] for result in results}) == 2
    assert os.getpid() not in {result["process"] for result in results}
    assert all(result["loaded"] == result["process"] and result["threads"] == 1 and result["variable"] == "1" for result in results)
    assert (os.environ["OMP_NUM_THREADS"], "MKL_NUM_THREADS" in os.environ) == ("7", False)


def test_in_one_process_it_works_here_on_a_copy():
    processor = Place()
    (result,) = processor.run(["item"]).results
    assert result["loaded"] == os.getpid()
    assert vars(processor) == {}


@pytest.mark.parametrize("cache", [False, True])
def test_no_items_give_no_results(cache):
    assert Double().run([], workers=2, cache=cache) == ([], [], [])


def test_parallel_lists_are_the_arguments():
    assert Pair().run(["Skua", "Tern"], [3, 4]).results == [[3, "Skua"], [4, "Tern"]]


@pytest.mark.parametrize("lists", [(["a", "b"], ["c"]), (["a", "b"], iter(["c"])), (iter(["a"]), iter(["c", "d"]))])
def test_unequal_lists_are_refused(lists):
    with pytest.raises(DataError, match="lists of one length"):
        Pair().run(*lists)


@pytest.mark.parametrize("cache", [False, True])
@pytest.mark.parametrize(
    ("lists", "found"),
    [
        ((), "none"), (("lines.txt",), "'lines.txt'"), (({"a": 1},), "{'a': 1}"), ((b"bytes",), "b'bytes'"), ((["a", "b"], 128), "list of 2, 128"),
        ((["a", "b"], ["c"]), "list of 2, list of 1"), ((None,), "None"),
    ],
)  # fmt: skip
def test_what_is_no_list_is_refused(lists, found, cache):
    with pytest.raises(DataError) as caught:
        Double().run(*lists, cache=cache)
    advice = "Each argument is a list of items; what is the same for all items belongs on self."
    assert str(caught.value) == f"Double: expected lists of one length, or iterators; found {found}. {advice}"


def test_what_is_no_list_is_refused_before_the_first_item_is_asked_for():
    with pytest.raises(DataError, match="found 'text'"):
        Double().iterate("text")


@pytest.mark.parametrize("settings", [{"workers": 0}, {"on_error": "ignore"}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ConfigError, match="expected workers >= 1, on_error 'stop' or 'quarantine', found"):
        Double().run([1], **settings)


@workers
def test_the_first_item_that_fails_is_named_with_its_traceback(workers):
    with pytest.raises(ProcessorFailed, match=r"^Short: item 3 \(7\) failed: Traceback") as caught:
        Short().run([2, 4, 6, 7, 8, 9], workers=workers)
    assert 'raise ValueError(f"{number} is odd")' in str(caught.value)
    assert str(caught.value).endswith("ValueError: 7 is odd")


@workers
def test_failed_items_are_put_apart_and_said(workers, capsys):
    done = Short().run(range(100), workers=workers, on_error="quarantine")
    assert done.results == list(range(0, 100, 2))
    assert [(failure.number, failure.item) for failure in done.failures] == [(number, number) for number in range(1, 100, 2)]
    assert done.failures[0].reason.endswith("ValueError: 1 is odd")
    assert "warning: Short: 50 of 100 items failed: [1, 3, 5, 7, 9, 11, ...]" in capsys.readouterr().err


def test_a_failure_stands_in_the_place_of_its_item():
    outcomes = list(Short().iterate([2, 3, 4], on_error="quarantine"))
    assert (outcomes[0], outcomes[1].item, outcomes[2]) == (2, 3, 4)


@workers
def test_a_failure_holds_its_item_as_it_was_given_and_its_reason_in_characters_that_can_be_written(workers):
    (failure,) = Spoils().run([{"text": "x\udcff", "id": 7}], workers=workers, on_error="quarantine").failures
    assert failure.item == {"text": "x\udcff", "id": 7}
    assert failure.reason.endswith("ValueError: no number: x\\udcff")


@workers
@pytest.mark.parametrize(("item", "name"), [("set", "best"), ("count", "seen"), ("append", "features")])
def test_state_that_would_be_lost_is_refused(workers, item, name):
    with pytest.raises(ProcessorFailed, match=rf"Lost: process sets or changes self\.{name}, which would be lost"):
        Lost().run([item], workers=workers)


def test_state_that_is_set_late_is_refused_too():
    with pytest.raises(ProcessorFailed, match=r"Lost: process sets or changes self\.features"):
        Lost().run([*["keep"] * 200, "append"], on_error="quarantine")


@pytest.mark.parametrize(("item", "how"), [("kill", "SIGKILL"), ("exit", "exit code 3")])
def test_a_worker_that_dies_is_one_error_that_names_its_items(item, how):
    with pytest.raises(ProcessorFailed, match=rf"^Deadly: a worker ended \({how}\) on items (\d+) to (\d+): .*{item}") as caught:
        Deadly().run([*["live"] * 30, item, *["live"] * 30], workers=2)
    first, last = map(int, str(caught.value).partition("on items ")[2].partition(":")[0].split(" to "))
    assert first <= 30 <= last


@workers
def test_a_setup_that_fails_is_said(workers):
    with pytest.raises(ProcessorFailed, match=r"(?s)Unready: setup failed: Traceback.*OSError: no dictionary here"):
        Unready().run([1], workers=workers)


def test_a_class_that_cannot_be_sent_is_refused():
    class Local(DataProcessor):
        def process(self, item):
            return item

    assert Local().run([1]).results == [1]
    with pytest.raises(ProcessorFailed, match="Local: cannot be sent to a worker process: Can't pickle"):
        Local().run([1], workers=2)
    with pytest.raises(ProcessorFailed, match=r"Gives: cannot be sent to a worker process: .*lambda"):
        Gives(lambda: 1).run([1], workers=2)


@workers
def test_an_iterator_without_end_is_read_only_a_little_ahead(workers):
    taken = 0

    def items():
        nonlocal taken
        for taken in count(1):  # noqa: B007  counted outside
            yield "x" * 100_000

    results = Gives("y").iterate(items(), workers=workers)
    assert list(islice(results, 200)) == ["y"] * 200
    results.close()
    assert taken <= 200 + 4 * workers * 20  # four batches a worker, each of about a million bytes and at most twice that


@pytest.mark.parametrize("result", [(1, 2), {1: "a"}, {"a": {1, 2}}, float("nan"), [[("a",)]], b"a"])
def test_a_result_that_json_would_change_is_refused(result):
    with pytest.raises(ProcessorFailed, match="the result is not what JSON holds"):
        Gives(result).run(["item"])


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
def test_what_json_holds_comes_back_equal_and_of_the_same_type(value):
    assert repr(Gives(value).run([value]).results) == repr([value])


def test_an_item_that_json_would_change_is_refused():
    with pytest.raises(DataError, match="item 1 is not what JSON holds"):
        Double().run([1, {2}])


# The cache


def test_a_second_run_takes_the_results_from_the_cache(tmp_path, capsys):
    notes = tmp_path / "notes"
    first = Note(notes).run(["a", "b"], cache=True)
    capsys.readouterr()
    assert Note(notes).run(["a", "b"], workers=2, cache=True) == first
    assert notes.read_text() == "a\nb\n"
    assert "Note: results found in the cache, nothing to process" in capsys.readouterr().err


def test_other_items_and_other_settings_are_processed_anew(tmp_path):
    notes = tmp_path / "notes"
    for unit, items in (("kn", ["a", "b"]), ("m", ["a", "b"]), ("kn", ["a", "c"]), ("kn", ["ab"])):
        assert Note(notes, unit).run(items, cache=True).results == [f"{item} {unit}" for item in items]
    assert notes.read_text().split() == ["a", "b", "a", "b", "a", "c", "ab"]


def test_another_source_is_processed_anew(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for factor in (2, 3):
        (tmp_path / "own_processor.py").write_text(
            f"import tunny\n\nFACTOR = {factor}\n\n\nclass Own(tunny.DataProcessor):\n    def process(self, item):\n        return FACTOR * item\n"
        )
        sys.modules.pop("own_processor", None)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        module = __import__("own_processor")
        assert module.Own().run([1, 2], cache=True).results == [factor, 2 * factor]


def test_failures_come_from_the_cache_as_well():
    first = Short().run([1, 2], on_error="quarantine", cache=True)
    assert Short().run([1, 2], on_error="quarantine", cache=True) == first
    assert first.failures == [Failure(0, 1, first.failures[0].reason)]


def test_a_run_that_stopped_leaves_nothing_in_the_cache(tmp_path):
    for _ in range(2):
        with pytest.raises(ProcessorFailed, match="item 1"):
            Short().run([0, 1], cache=True)
    assert list((tmp_path.parent / os.environ["TUNNY_CACHE"]).rglob("*.arrow")) == []


def test_the_cache_refuses_what_it_cannot_tell_apart():
    with pytest.raises(DataError, match="an iterator cannot be read twice"):
        Double().run(iter([1]), cache=True)
    with pytest.raises(DataError, match=r"Gives: cache=True: self\.what is not what JSON holds"):
        Gives(object()).run([1], cache=True)


# Scripts


SCRIPT = """
import os, sys, time
import tunny

class Slow(tunny.DataProcessor):
    def process(self, item):
        if len(sys.argv) > 1:
            open(f"{sys.argv[1]}/{os.getpid()}", "x")
            time.sleep(60)
        return item + 1

if __name__ == "__main__":
    print(Slow().run([1, 2, 3], workers=2).results)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_class_of_a_script_works(script):
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "[2, 3, 4]\n"


def test_a_script_without_a_guard_is_told_of_it(script):
    script.write_text(SCRIPT.replace('if __name__ == "__main__":', "if True:"))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "A script needs `if __name__ == '__main__':` around `run`" in done.stderr


def test_an_interrupt_ends_all_workers(script, tmp_path):
    started = tmp_path / "started"
    started.mkdir()
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # which those who start tests in the background ignore, and children too
    process = subprocess.Popen(
        [sys.executable, script, started], stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heard
    )  # fmt: skip
    while len(workers := list(started.iterdir())) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == 1
    assert not any(Path("/proc", worker.name).exists() for worker in workers)


def test_the_examples_of_the_page_run(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "processors.md").read_text("utf-8"), re.DOTALL)
    said = []
    for number, block in enumerate(blocks):
        path = tmp_path / ("lengths.py" if not number else f"example_{number}.py")
        path.write_text(f"{block}\nprint(result if 'result' in dir() else '')\n" if number else block)
        said.append(subprocess.run([sys.executable, path], capture_output=True, text=True, check=True).stdout)
    assert said[0] == "{'text': 'The Skua is back.', 'length': 4} 4\n"
    assert said[1] == "{'text': 'Text number 10.', 'length': 15}\n"
    assert len(blocks) == 3


# Batches for engines


def test_a_batch_of_plain_columns_gives_results_by_row():
    batch = pa.record_batch({"text": ["Skua", "Tern"], "label": [3, 4]})
    found = process_batch(Pair(), batch)
    assert found.to_pylist() == [
        {"result": json.dumps([label, text]), "error": None, "arguments": None}
        for text, label in zip(["Skua", "Tern"], [3, 4], strict=True)
    ]
    table = pa.table({"text": ["Skua"], "label": [3]})
    assert process_batch(Pair(), table).column("result").to_pylist() == ['[3, "Skua"]']


def test_an_empty_batch_gives_an_empty_one():
    assert process_batch(Double(), pa.record_batch({"number": pa.array([], pa.int64())})).num_rows == 0


def test_a_row_that_fails_has_its_traceback_and_arguments():
    found = process_batch(Short(), pa.record_batch({"number": [2, 3]})).to_pylist()
    assert (found[0]["error"], found[1]["result"], found[1]["arguments"]) == (None, None, "[3]")
    assert found[1]["error"].endswith("ValueError: 3 is odd")


def test_the_work_is_a_function_that_can_be_sent():
    work = pickle.loads(pickle.dumps(partial(process_batches, Double())))
    batches = [pa.record_batch({"number": [1]}), pa.record_batch({"number": [2, 3]})]
    assert [batch.num_rows for batch in work(batches)] == [1, 2]


def test_the_work_takes_a_table_and_gives_batches_of_one_schema():
    table = pa.table({"number": [1, 2]})
    found = pa.Table.from_batches(process_batches(Double(), [table]), RESULTS)
    assert found["result"].to_pylist() == ['{"number": 1, "double": 2}', '{"number": 2, "double": 4}']


# Several machines


@given(st.integers(0, 300), st.integers(1, 40))
def test_parts_are_the_items_in_order_and_balanced(num_items, world_size):
    parts = [partition(range(num_items), rank, world_size) for rank in range(world_size)]
    assert [item for part in parts for item in part] == list(range(num_items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.fixture
def no_scheduler(monkeypatch):
    for name in (name for pair in PLACES for name in pair):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("rank", "size"), PLACES)
def test_the_place_is_taken_from_the_environment_and_said(no_scheduler, monkeypatch, capsys, rank, size):
    monkeypatch.setenv(rank, "1")
    monkeypatch.setenv(size, "3")
    assert partition(list("abcdefgh")) == list("cde")
    assert f"items: 2 to 5 of 8 (rank 1 of 3, {rank}=1 and {size}=3)" in capsys.readouterr().err


def test_without_a_scheduler_one_machine_takes_all(no_scheduler, capsys):
    assert partition("abc") == "abc"
    assert "no scheduler's variables are set" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "world_size"), [(3, 3), (-1, 3), (0, 0), (0, None), (None, 2), (0.5, 2), ("0", 2)])
def test_a_place_that_cannot_be_is_refused(no_scheduler, rank, world_size):
    with pytest.raises(ConfigError, match="partition: expected 0 <= rank < world_size, found"):
        partition([1, 2, 3], rank, world_size)


@pytest.mark.parametrize("variables", [{"RANK": "1"}, {"RANK": "x", "WORLD_SIZE": "2"}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}])
def test_half_a_place_in_the_environment_is_refused(no_scheduler, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="Start ranks with srun, mpirun or torchrun, or give both"):
        partition([1, 2, 3])
