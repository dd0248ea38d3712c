"""SIGTERM and SIGINT: between steps they ask for a stop after saving; anywhere else they stop at once, cleanly."""

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from tunny.core.errors import Stopped


class StopRequest:
    """Remembers the signal that asked for a stop; `deferred` says who looks at it."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._deferred = False

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a signal only sets `signum`: the training loop saves, then stops."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Be the signal handler. A second signal during a deferred stop stops at once."""
        if self._deferred and self.signum is None:
            self.signum = signum
            return
        raise Stopped(signum)


@contextlib.contextmanager
def watch_signals() -> Iterator[StopRequest]:
    """Handle SIGTERM and SIGINT inside the block and put the former handlers back after it (main thread only)."""
    request = StopRequest()
    try:
        former = {number: signal.signal(number, request.handle) for number in (signal.SIGTERM, signal.SIGINT)}
    except ValueError:  # not the main thread: whoever owns it owns the signals
        yield request
        return
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
