"""What a person sees: plain sentences, choices with their reasons, progress. Everything goes to stderr.

Results asked for on `-` are the only thing on stdout. On a terminal a bar shows progress; in a log, a line at most every
ten seconds. A run folder gets a copy of every line (`copy_to`).
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TextIO, TypeVar

from tunny.core.errors import Stopped, TunnyError

T = TypeVar("T")

_copies: list[TextIO] = []
_said: list[str] = []


def say(message: str = "") -> None:
    """Print one line for the user and copy it to the run's log."""
    print(message, file=sys.stderr, flush=True)
    _said.append(message)
    for copy in _copies:
        copy.write(message + "\n")
        copy.flush()


def choice(what: str, value: object, reason: str) -> None:
    """Say an automatic choice with its reason."""
    say(f"{what}: {value} ({reason})")


def warn(message: str) -> None:
    """Say something that the user should look at but that stops nothing."""
    say(f"warning: {message}")


def mark() -> int:
    """Return the place in what has been said from which `copy_to` is to begin."""
    return len(_said)


@contextlib.contextmanager
def copy_to(path: Path, since: int) -> Iterator[None]:
    """Append every line said since the mark, and inside the block, to `path` as well."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _said[since:])
        _copies.append(file)
        try:
            yield
        except (TunnyError, Stopped) as error:  # the command line prints it
            file.write(f"{error}\n")
            raise
        finally:
            _copies.remove(file)


def progress(items: Iterable[T], what: str, *, total: int | None = None, unit: str = "items") -> Iterator[T]:
    """Yield the items, showing how many are done and at what rate."""
    if sys.stderr.isatty():
        yield from _bar(items, what, total)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= 10.0:
            last = now
            of = f" of {total:,}" if total else ""
            say(f"{what}: {done:,}{of} {unit}, {done / (now - start):,.1f} {unit}/s")


def _bar(items: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        for item in items:
            yield item
            bar.advance(task)
