"""Processors: work on one item, written by a user, run over many: in one process, in several, on several machines.

Items go out and results come back as Arrow batches of JSON values, refused where they would not come back equal. A batch is cut to take a
tenth of a second, and four a worker are under way, so items may be more than memory holds.
"""

import contextlib
import copy
import inspect
import json
import multiprocessing
import os
import reprlib
import signal
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, count, islice, tee, zip_longest
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from pickle import PicklingError
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa

from tunny.core.console import choice, progress, say, warn
from tunny.core.errors import ConfigError, DataError, ProcessorFailed
from tunny.core.files import digest_bytes
from tunny.data.store import read_rows, write_batches

# a result as JSON; or why the item failed, a traceback, and the arguments as a JSON list
RESULTS = pa.schema({"result": pa.string(), "error": pa.string(), "arguments": pa.string()})
# where launchers say rank and number of processes: torch's, and those that start processes without telling them of each other
PLACES = (("RANK", "WORLD_SIZE"), ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("PMI_RANK", "PMI_SIZE"),
          ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"))  # fmt: skip  # SLURM_NTASKS is also set where srun did not start the ranks
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
BATCH_SECONDS, BATCH_ITEMS, BATCH_BYTES, WAITING = 0.1, 1024, 1_000_000, 4  # and batches a worker that are under way
T = TypeVar("T")
Worker = tuple[Connection, BaseProcess]  # our end of its pipe, and its process
_END = object()
_encode, _decode = json.JSONEncoder(allow_nan=False).encode, json.JSONDecoder().decode


class Failure(NamedTuple):
    """An item that `process` failed on."""

    number: int  # among all items, from 0
    item: Any  # of parallel lists a list
    reason: str  # the traceback

    def __str__(self) -> str:
        return f"item {self.number} ({reprlib.repr(self.item)}) failed: {self.reason}"


class Processed(NamedTuple):
    """What `DataProcessor.run` returns."""

    results: list[Any]  # in the order of the items, without those that failed
    failures: list[Failure]
    analysis: Any  # what `analyze` returned


class DataProcessor(ABC):
    """Subclass it with `process`, the work on one item, and `run` it in one process or in several: the results are the same.

    Items and results are what JSON holds: dicts with text for keys, lists, text, finite numbers, true, false and None.
    """

    @abstractmethod
    def process(self, *args: Any, **kwargs: Any) -> Any:
        """Return the result of one item, or of one item of each parallel list; set nothing on `self`."""

    def setup(self) -> None:  # noqa: B027  may be left out, as the next
        """Load what is large or cannot be sent to other processes; called once in each, before its first item."""

    def analyze(self, results: list[Any]) -> Any:  # noqa: B027
        """Look at all results, in order, in the process that called `run`."""

    def run(self, *lists: Iterable[Any], workers: int = 1, on_error: str = "stop", cache: bool = False) -> Processed:
        """Process every item once, in so many processes, and analyze the results. Parallel lists give `process` one argument each.

        `on_error="quarantine"` goes on behind items that fail and returns them apart. `cache` keeps what came of the items under a digest
        of them, of the attributes and of the class's file. Raises ProcessorFailed, DataError, ConfigError.
        """
        batches = self._batches(lists, workers, on_error)
        if cache:
            from tunny.data.prepare import cache_folder, cached  # here: workers start faster without it

            key = self._digest(lists, on_error)
            if (cache_folder() / "processed" / key).is_dir():
                say(f"{type(self).__name__}: results found in the cache, nothing to process")
            folder = cached("processed", key, lambda folder: write_batches(folder / "results.arrow", RESULTS, batches))
            batches = read_rows(folder / "results.arrow")
        outcomes = list(self._outcomes(batches))
        results = [outcome for outcome in outcomes if not isinstance(outcome, Failure)]
        return Processed(results, [outcome for outcome in outcomes if isinstance(outcome, Failure)], self.analyze(results))

    def iterate(self, *lists: Iterable[Any], workers: int = 1, on_error: str = "stop") -> Iterator[Any]:
        """Yield results in order as they come, and a `Failure` in the place of an item that failed; iterators may have no end."""
        return self._outcomes(self._batches(lists, workers, on_error))

    def _outcomes(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Any]:
        number, failures = 0, list[int]()
        for batch in batches:
            for outcome in _decoded(batch, number):
                failures += [outcome.number] if isinstance(outcome, Failure) else []
                yield outcome
            number += batch.num_rows
        if failures:
            warn(f"{type(self).__name__}: {len(failures):,} of {number:,} items failed: {reprlib.repr(failures)}")

    def _batches(self, lists: Sequence[Iterable[Any]], workers: int, on_error: str) -> Iterator[pa.RecordBatch]:
        """Return `RESULTS` of all items in order, which raise where one failed, as `on_error` has it."""
        name, sizes, stop = type(self).__name__, {len(one) for one in lists if isinstance(one, Sized)}, on_error == "stop"
        if workers < 1 or on_error not in ("stop", "quarantine"):
            raise ConfigError(f"{name}: expected workers >= 1, on_error 'stop' or 'quarantine', found {workers} and {on_error!r}.")
        listed = [not isinstance(one, str | bytes | Mapping) and (hasattr(one, "__iter__") or hasattr(one, "__getitem__")) for one in lists]
        if not all(listed or [False]) or len(sizes) > 1:
            found = ", ".join(
                reprlib.repr(one) if not fine else f"{type(one).__name__} of {len(one)}" if isinstance(one, Sized) else type(one).__name__
                for one, fine in zip(lists, listed, strict=True)
            )
            rule = "Each argument is a list of items; what is the same for all items belongs on self."
            raise DataError(f"{name}: expected lists of one length, or iterators; found {found or 'none'}. {rule}")
        return self._replies((_in_workers if workers > 1 else _here)(self, _Feed(lists), stop, workers), max(sizes, default=None), stop)

    def _replies(self, batches: Iterable[pa.RecordBatch], total: int | None, stop: bool) -> Iterator[pa.RecordBatch]:
        name, number = type(self).__name__, 0
        shown = progress(count(), name, total=total)
        for batch in batches:
            if stop and batch["error"].null_count < batch.num_rows:
                raise ProcessorFailed(f"{name}: {[*_decoded(batch, number)][-1]}")
            number += sum(1 for _ in islice(shown, batch.num_rows))
            yield batch

    def _digest(self, lists: Sequence[Iterable[Any]], on_error: str) -> str:
        name = type(self).__name__
        if any(iter(one) is one for one in lists):
            raise DataError(f"{name}: cache=True needs lists: an iterator cannot be read twice.")
        try:
            sources = [Path(inspect.getfile(base)).read_bytes() for base in type(self).__mro__[:-1]]
        except (TypeError, OSError) as error:
            raise ConfigError(f"{name}: cache=True needs a class that is defined in a file: {error}") from error
        settings = [f"{key}={_to_json(value, f'{name}: cache=True: self.{key}')}" for key, value in sorted(vars(self).items())]
        items = (_to_json([*row], f"item {number}") for number, row in enumerate(_rows(lists)))
        return digest_bytes(type(self).__qualname__, on_error, str(len(settings)), *sources, *settings, *items)


def process_batch(processor: DataProcessor, batch: pa.RecordBatch, stop: bool = False) -> pa.RecordBatch:
    """Return `RESULTS` of a batch whose columns, of JSON or not, are the arguments of `process`; `stop`: a failure is the last row."""
    answers = list[dict[str, str]]()
    for number, row in enumerate(_arguments(batch)):
        try:
            answers.append({"result": _to_json(processor.process(*row), "the result")})
        except Exception as error:
            reason = "".join(traceback.format_exception(error)).strip().encode("utf-8", "backslashreplace").decode()
            given = next(_arguments(batch.slice(number, 1)))  # anew: `process` may have changed the row
            answers.append({"error": reason, "arguments": json.dumps(given, default=str)})
            if stop:
                break
    return pa.RecordBatch.from_pylist(answers, schema=RESULTS)


def process_batches(processor: DataProcessor, batches: Iterable[pa.RecordBatch], stop: bool = False) -> Iterator[pa.RecordBatch]:
    """Yield the `RESULTS` of each batch, as one worker does: `setup` before them, and ProcessorFailed where `process` changes `self`."""
    name = type(processor).__name__
    try:
        processor.setup()
    except Exception as error:
        raise ProcessorFailed(f"{name}: setup failed: {traceback.format_exc().strip()}") from error

    def state(attributes: dict[str, Any]) -> dict[str, tuple[int, str]]:
        """Return what tells whether an attribute is another one, or a container with other contents."""
        contents = (list, dict, set, deque)
        return {name: (id(value), repr(value) if isinstance(value, contents) else "") for name, value in attributes.items()}

    held = dict(vars(processor))  # so that nothing else gets an id that is in use
    before = state(held)
    for number, batch in enumerate(chain(batches, [None])):
        if (number == 1 or batch is None) and (changed := before.items() ^ state(vars(processor)).items()):  # soon, and at the end
            names = ", ".join(sorted({f"self.{key}" for key, _ in changed}))
            advice = "Return it and gather it in analyze; what process needs is loaded in setup."
            raise ProcessorFailed(f"{name}: process sets or changes {names}, which would be lost with its worker. {advice}")
        if batch is not None:
            yield process_batch(processor, batch, stop)


def partition(items: Sequence[T], rank: int | None = None, world_size: int | None = None) -> Sequence[T]:
    """Return the part of the items that this machine works on: contiguous, in order, none on two, parts equal but for one item.

    What is not given is looked for in the environment (`PLACES`); where nothing stands there either, this is the only machine.
    """
    where, found = "as given", [rank, world_size]
    if found == [None, None]:
        given = {name: os.environ.get(name) for name in next((pair for pair in PLACES if pair[0] in os.environ), ())}
        where = " and ".join(f"{name}={value}" for name, value in given.items()) or "no scheduler's variables are set"
        found = [int(value) if value and value.isdecimal() else None for value in given.values()] or [0, 1]
    rank, world_size = found
    if not (isinstance(rank, int) and isinstance(world_size, int) and 0 <= rank < world_size):
        advice = "Start ranks with srun, mpirun or torchrun, or give both."
        raise ConfigError(f"partition: expected 0 <= rank < world_size, found {rank} and {world_size} ({where}). {advice}")
    first, end = len(items) * rank // world_size, len(items) * (rank + 1) // world_size
    choice("items", f"{first:,} to {end:,} of {len(items):,}", f"rank {rank} of {world_size}, {where}")
    return items[first:end]


def _to_json(value: Any, what: str) -> str:
    try:
        text = _encode(value)
        if _decode(text) != value:
            raise ValueError("it would come back changed")
        return text
    except (TypeError, ValueError, RecursionError) as error:
        known = "dicts with text for keys, lists (no tuples), text, finite numbers, true, false and None"
        raise DataError(f"{what} is not what JSON holds, {known}: {reprlib.repr(value)}: {error}.") from error


def _arguments(batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    columns = [[*map(_decode, column.to_pylist())] if column.type == pa.json_() else column.to_pylist() for column in batch.columns]
    return zip(*columns, strict=True)


def _rows(lists: Sequence[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    for number, row in enumerate(zip_longest(*lists, fillvalue=_END)):
        if any(value is _END for value in row):
            raise DataError(f"item {number}: is in one of the parallel lists, but another has ended. Give lists of one length.")
        yield row


def _decoded(batch: pa.RecordBatch, first: int) -> Iterator[Any]:
    for number, row in enumerate(batch.to_pylist(), first):
        item = _decode(row["arguments"] or "null")
        yield _decode(row["result"]) if item is None else Failure(number, item if len(item) > 1 else item[0], row["error"])


class _Feed:
    """Cuts items into batches, each with the number of its first; what one was decides how many items the next has."""

    def __init__(self, lists: Sequence[Iterable[Any]]):
        self._rows, self._size = enumerate(_rows(lists)), 1

    def __iter__(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        while part := [*islice(self._rows, self._size)]:
            texts = zip(*[[_to_json(value, f"item {number}") for value in row] for number, row in part], strict=True)
            yield part[0][0], pa.record_batch({str(place): pa.array(column, pa.json_()) for place, column in enumerate(texts)})

    def took(self, batch: pa.RecordBatch, seconds: float) -> None:
        fitting = batch.num_rows / max(seconds / BATCH_SECONDS, batch.nbytes / BATCH_BYTES)
        self._size = max(1, min(int(fitting), 2 * self._size, BATCH_ITEMS))


def _here(processor: DataProcessor, feed: _Feed, stop: bool, workers: int) -> Iterator[pa.RecordBatch]:
    cuts, again = tee(feed)
    since = time.monotonic()
    for reply, (_, batch) in zip(process_batches(copy.copy(processor), (batch for _, batch in again), stop), cuts, strict=False):
        feed.took(batch, time.monotonic() - since)
        yield reply
        since = time.monotonic()


def _in_workers(processor: DataProcessor, feed: _Feed, stop: bool, workers: int) -> Iterator[pa.RecordBatch]:
    """Yield what the workers reply, in order. A thread waits for each; it holds one batch, so no end of its pipe waits for the other to read."""
    crew, idle = list[Worker](), list[Worker]()
    cuts, window = iter(feed), deque[Future[pa.RecordBatch]]()

    def ask(first: int, batch: pa.RecordBatch | None) -> pa.RecordBatch | None:
        (pipe, process), since = idle.pop(), time.monotonic()
        try:
            pipe.send(batch)
            reply = pipe.recv()
        except (EOFError, OSError) as error:
            process.join()
            code = process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            items = [*map(_decode, batch.column(0).to_pylist())] if batch else []
            where = f"on items {first} to {first + len(items) - 1}: {reprlib.repr(items)}" if items else "at its end"
            guard = "A script needs `if __name__ == '__main__':` around `run`, and a class of a notebook a file of its own."
            advice = "Was memory short? Fewer workers need less." if code < 0 else guard
            raise ProcessorFailed(f"{type(processor).__name__}: a worker ended ({how}) {where}. {advice}") from error
        if isinstance(reply, ProcessorFailed):
            raise reply
        if batch:
            feed.took(batch, time.monotonic() - since)
            idle.append((pipe, process))
        return reply

    threads = ThreadPoolExecutor(workers)
    try:
        while True:
            for cut in islice(cuts, WAITING * workers - len(window)):
                if len(crew) < workers:
                    crew.append(_start(processor, stop))
                    idle.append(crew[-1])
                window.append(threads.submit(ask, *cut))
            if not window:
                break
            yield window.popleft().result()
        list(threads.map(ask, [0] * len(crew), [None] * len(crew)))
        for _, process in crew:
            process.join()
    finally:
        for _, process in crew:
            process.kill()
            process.join()
        threads.shutdown(cancel_futures=True)


def _start(processor: DataProcessor, stop: bool) -> Worker:
    """Start a worker with one thread (libraries read how many when they are loaded); return its pipe and its process."""
    context, former = multiprocessing.get_context("spawn"), dict(os.environ)
    pipe, far = context.Pipe()
    process = context.Process(target=_serve, args=(far, processor, stop), daemon=True)
    os.environ.update(ONE_THREAD)
    try:
        process.start()
    except (AttributeError, TypeError, PicklingError) as error:
        advice = "Define its class at the top of a file, and load in setup what cannot be sent."
        raise ProcessorFailed(f"{type(processor).__name__}: cannot be sent to a worker process: {error}. {advice}") from error
    finally:
        for name in ONE_THREAD.keys() - former.keys():
            del os.environ[name]
        os.environ.update(former)
        far.close()
    return pipe, process


def _serve(pipe: Connection, processor: DataProcessor, stop: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all its processes; the one that started this ends it
    with contextlib.suppress(EOFError, OSError):  # nobody is there any more
        try:
            for reply in process_batches(processor, iter(pipe.recv, None), stop):
                pipe.send(reply)
            pipe.send(None)
        except ProcessorFailed as error:
            pipe.send(error)
