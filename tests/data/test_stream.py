"""Rows of files that are read one after another."""

import numpy as np
import pytest

from tunny.core.errors import DataError
from tunny.data import stream
from tunny.data.stream import Stream, Streamed


@pytest.fixture
def files(tmp_path):
    """Five files of different lengths, one of them empty."""
    paths = []
    for number, count in enumerate((40, 7, 0, 23, 11)):
        path = tmp_path / f"{number}.txt"
        path.write_text("".join(f"{number}-{line}\n" for line in range(count)))
        paths.append(str(path))
    return paths


def read(path):
    with open(path) as file:
        yield from (line.strip() for line in file)


def steps(files, epoch=0, first=0, batch=4, seed=3):
    made = Streamed(Stream(read, files), batch, seed, len)
    return [made.rows(step.rows) for step in made.epoch(epoch, first)]


def test_rows_come_in_the_order_of_the_files_each_time(files):
    rows = Stream(read, files)
    assert list(rows) == list(rows)
    assert (len(rows), next(iter(rows)), list(rows)[-1]) == (81, "0-0", "4-10")


def test_every_row_is_in_one_step_and_the_number_of_steps_is_known(files):
    found = steps(files)
    assert len(found) == len(Streamed(Stream(read, files), 4, 3, len)) == 21
    assert sorted(row for step in found for row in step) == sorted(Stream(read, files))


def test_the_order_is_that_of_seed_and_epoch(files):
    assert steps(files) == steps(files)
    assert steps(files) != steps(files, epoch=1)
    assert steps(files) != steps(files, seed=4)


@pytest.mark.parametrize("first", [1, 5, 20, 21])
def test_a_run_that_goes_on_sees_the_steps_that_are_left(files, first, monkeypatch):
    monkeypatch.setattr(stream, "KEPT", 16)  # so that there are several blocks
    assert steps(files, first=first) == steps(files)[first:]


def test_an_epoch_does_not_take_rows_of_the_one_before(files):
    made = Streamed(Stream(read, files), 4, 3, len)
    for epoch in range(3):
        assert [made.rows(step.rows) for step in made.epoch(epoch, 0)] == steps(files, epoch)


def test_rows_may_be_asked_for_while_another_thread_plans(files, monkeypatch):
    monkeypatch.setattr(stream, "KEPT", 4)  # a block each step
    made = Streamed(Stream(read, files), 4, 3, len)
    planned = made.epoch(0, 0)

    class Interrupted(list):
        def __getitem__(self, at):
            next(planned)
            return super().__getitem__(at)

    next(planned)
    assert made.rows(Interrupted(next(planned).rows)) == steps(files)[1]


def test_files_are_mixed_and_at_most_so_many_open(files, monkeypatch):
    monkeypatch.setattr(stream, "OPEN", 2)
    opened, most = set(), 0

    def watched(path):
        nonlocal most
        opened.add(path)
        most = max(most, len(opened))
        yield from read(path)
        opened.remove(path)

    rows = list(Stream(watched, files).mixed([0, 1, 2, 3, 4]))
    assert rows[:4] == ["0-0", "1-0", "0-1", "1-1"]
    assert (most, sorted(rows)) == (2, sorted(Stream(read, files)))


def test_rows_of_a_step_come_from_far_apart():
    def numbers(path):
        yield from range(int(path), int(path) + 5000)

    made = Streamed(Stream(numbers, ["0", "5000"]), 50, 1, lambda row: 1)
    spread = [np.ptp(made.rows(step.rows)) for step in made.epoch(0, 0)]
    assert np.median(spread) > 9000


def test_like_lengths_come_together():
    def words(path):
        yield from ("x" * (1 + number * 7 % 90) for number in range(4000))

    made = Streamed(Stream(words, ["a"]), 10, 1, len)
    assert np.mean([np.ptp([len(row) for row in made.rows(step.rows)]) for step in made.epoch(0, 0)]) < 5


def test_files_that_change_between_counting_and_reading_are_named(files):
    made = Streamed(Stream(read, files), 4, 3, len)
    assert len(made) == 21
    with open(files[0], "a") as file:
        file.write("one more\n")
    with pytest.raises(DataError, match="81 rows were counted and 82 read: did the files change"):
        list(made.epoch(0, 0))
