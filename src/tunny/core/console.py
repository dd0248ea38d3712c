"""What a person sees: plain sentences, choices with their reasons, progress. Everything goes to stderr.

Results asked for on `-` are the only thing on stdout. On a terminal a bar shows progress; in a log, a line at most every
ten seconds. A run folder gets a copy of every line (`copy_to`).
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, TypeVar

from tunny.core.errors import Stopped, TunnyError

T = TypeVar("T")

_copies: list[TextIO] = []
_silent: list[bool] = []
_said: list[str] = []
_display: list[Any] = []  # what draws the bars, while there are any: a terminal has one place for all


def say(message: str = "") -> None:
    """Print one line for the user and copy it to the run's log."""
    if not _silent:
        print(message, file=sys.stderr, flush=True)
    _keep(message)


def silence() -> None:
    """Say nothing from now on but errors: another process of this training speaks for all."""
    _silent.append(True)


def _keep(message: str) -> None:
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
    """Yield the items, showing how many are done and at what rate.

    Items come in bursts, as answers of batches do: the wait for one is paid for those behind it too, so it counts from the next wait on.
    """
    if sys.stderr.isatty() and not _silent:
        with bar(what, total) as shown:
            for item in items:
                yield item
                shown.advance()
        return
    start = last = ended = time.monotonic()
    for done, item in enumerate(items):
        if (now := time.monotonic()) - last >= 10.0:
            last = now
            if ended - start >= 1.0:  # else too little is known
                of = f" of {total:,}" if total else ""
                say(f"{what}: {done:,}{of} {unit}, {done / (ended - start):,.1f} {unit}/s")
        yield item
        ended = time.monotonic()


class Bar:
    """How far long work is: on a terminal a bar with rows above it, elsewhere lines."""

    def __init__(self, display: Any, task: Any):
        self._display, self._task = display, task  # None where there is no terminal
        self._head = ""

    def advance(self) -> None:
        """Go on by one."""
        if self._display is not None:
            self._display.advance(self._task)

    def say(self, line: str, title: str, row: Mapping[str, str]) -> None:
        """Say a line; on a terminal the bar takes the title, a row is printed under its head, and only the run's log gets the line."""
        if self._display is None:
            say(line)
            return
        _keep(line)
        self._display.update(self._task, description=title)
        if row:
            head = "  ".join(name.rjust(8) for name in row)
            if head != self._head:
                print(head, file=sys.stderr, flush=True)
            print("  ".join(cell.rjust(max(8, len(name))) for name, cell in row.items()), file=sys.stderr, flush=True)
            self._head = head


@contextlib.contextmanager
def bar(what: str, total: int | None, done: int = 0) -> Iterator[Bar]:
    """Show a bar while the block runs, below those that are shown already; on a terminal only."""
    if not sys.stderr.isatty() or _silent:
        yield Bar(None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if _display:
        display = _display[0]
        task = display.add_task(what, total=total, completed=done)
        try:
            yield Bar(display, task)
        finally:
            display.remove_task(task)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        _display.append(display)
        try:
            yield Bar(display, display.add_task(what, total=total, completed=done))
        finally:
            _display.clear()
