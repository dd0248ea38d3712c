"""The tree of errors, each with the exit code it ends a command with.

TunnyError            1  our fault
  UserError           2  the user can mend it: where, what was expected, what was found, what to do
    ConfigError          a setting
    DataError            a file, a row, a span
    ModelError           a model folder or name
    HubError             the Hub: a name, a token, the network
    RunError             a run folder, a checkpoint, the disk
    TrainingFailed       the loss is not finite, or memory does not suffice
    TaskFailed           a user's task raised an error, or gave something else than it should
    OtherRankFailed      another process of the training failed, and says why
    ProcessorFailed      a user's processor raised an error, changed itself, or its process ended
Stopped         130, 143  a signal, after saving; no Exception
"""

import difflib
import signal
from collections.abc import Iterable


class TunnyError(Exception):
    """The root of all errors that Tunny raises on purpose."""

    exit_code = 1


class UserError(TunnyError):
    """Something the user can mend; the message says where, what was expected, what was found and what to do."""

    exit_code = 2


class ConfigError(UserError):
    """One or more settings are wrong; the message lists every one with its place."""


class DataError(UserError):
    """A data file, row, tag or span cannot be used."""


class ModelError(UserError):
    """A model name or folder cannot be used."""


class HubError(UserError):
    """The Hub has no such thing, takes no token, or cannot be reached."""


class RunError(UserError):
    """A run folder, a checkpoint or the disk is not in a state to go on."""


class TrainingFailed(UserError):
    """Training cannot go on: a loss that is not finite, or no memory for a single row."""


class TaskFailed(UserError):
    """A user's task raised an error, or gave something else than it should; the message names the method and its line."""


class OtherRankFailed(UserError):
    """Another process of this training failed; its own message says why."""


class ProcessorFailed(UserError):
    """A user's processor raised an error or changed itself, or a process that it ran in ended."""


class Stopped(BaseException):
    """A signal stopped the work, after what could be saved was saved. No `except Exception` on the way can swallow it."""

    def __init__(self, signum: int, message: str = ""):
        name = signal.Signals(signum).name
        super().__init__(message or f"stopped by {name}")
        self.exit_code = 128 + signum


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name nearest to `name`, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
