"""Tunny: from labelled text to a tagger or classifier that people can trust and use.

Names are loaded when they are used: `import tunny` alone imports neither torch nor transformers.
"""

from typing import TYPE_CHECKING, Any

from tunny.core.version import __version__

__all__ = [
    "Callback", "Config", "DataProcessor", "Example", "Moment", "Settings", "Span", "Stream", "Task", "Tracker", "TunnyError", "UserError",
    "__version__", "evaluate", "load", "locate", "partition", "predict", "push", "train",
]  # fmt: skip

if TYPE_CHECKING:
    from tunny.api import evaluate, predict, push, train
    from tunny.config import Config
    from tunny.core.errors import TunnyError, UserError
    from tunny.core.settings import Settings
    from tunny.data.example import Example, Span
    from tunny.data.process import DataProcessor, partition
    from tunny.data.stream import Stream
    from tunny.ship.predictor import load
    from tunny.tasks.model import locate
    from tunny.tasks.own import Task
    from tunny.training.callbacks import Callback, Moment
    from tunny.training.trackers.base import Tracker

_HOMES = {
    "Callback": "tunny.training.callbacks", "Moment": "tunny.training.callbacks",
    "Config": "tunny.config", "DataProcessor": "tunny.data.process", "Example": "tunny.data.example", "Span": "tunny.data.example",
    "Tracker": "tunny.training.trackers.base", "TunnyError": "tunny.core.errors", "UserError": "tunny.core.errors",
    "Settings": "tunny.core.settings", "Stream": "tunny.data.stream", "Task": "tunny.tasks.own", "locate": "tunny.tasks.model",
    "evaluate": "tunny.api", "load": "tunny.ship.predictor", "partition": "tunny.data.process", "predict": "tunny.api",
    "push": "tunny.api", "train": "tunny.api",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tunny' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
