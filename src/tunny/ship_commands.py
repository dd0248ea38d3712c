"""The commands that make something of a model folder, or put it somewhere."""

from pathlib import Path

from tunny.config import FileSettings
from tunny.core import hub
from tunny.core.console import say
from tunny.core.signals import watch_signals
from tunny.data.find import find_files


def trim(model: str, data: list[str], out: str, given: FileSettings) -> None:
    """Write a model with only the vocabulary that texts like those of the data need (`tunny export --trim-vocabulary`)."""
    from tunny.ship import trim

    for pattern in data:
        find_files(pattern)
    with watch_signals():
        trim.trim(model, data, Path(out), given.data, given.engine, given.task)


def push(model: str, repo: str, *, public: bool = False, update: bool = False) -> str:
    """Put a model folder on the Hub, private unless `public`, and return the address of its commit (`tunny push`)."""
    folder = Path(model).expanduser()
    hub.require_model(folder)
    with watch_signals():
        hub.create(repo, public=public, update=update)
        address = hub.upload(folder, repo, "Push a model")
    say(f"pushed: {address}")
    return address
