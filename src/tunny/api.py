"""The commands as Python functions; settings may be a file, a mapping, or a Config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunny import model_commands
from tunny.config import Config, load_config, load_file_settings
from tunny.core.named import name_of
from tunny.core.settings import Resolved
from tunny.training.callbacks import Callback


def train(
    config: str | Path | Mapping[str, Any] | Config, *, resume: bool = False, overwrite: bool = False, callbacks: Sequence[Callback] = ()
) -> Path:
    """Train as `tunny train` does and return the run folder; `callbacks` come after those of `train.callbacks`.

    Raises UserError for what the user can mend.
    """
    from tunny import seeds  # the loop, and torch with it

    return seeds.train(_resolved(config), resume=resume, overwrite=overwrite, callbacks=callbacks)


def evaluate(
    model: str | Path, data: str | Path | Sequence[str], out: str | Path, *, layout: str | None = None, task: str | type | None = None,
    **columns: Any,
) -> dict[str, float | None]:  # fmt: skip
    """Score a model folder on labelled data as `tunny evaluate` does and return the metrics; `columns` are `data.*` settings."""
    files = [str(data)] if isinstance(data, (str, Path)) else [str(file) for file in data]
    return model_commands.evaluate(str(model), files, str(out), load_file_settings(_task(task), columns, own=True), layout)


def predict(
    model: str | Path, source: str | Path, out: str | Path, *, to: str | None = None, task: str | type | None = None, **columns: Any
) -> int:  # fmt: skip
    """Label a file as `tunny predict` does and return the number of predictions; `columns` are `data.*` settings."""
    return model_commands.predict(str(model), str(source), str(out), to, load_file_settings(_task(task), columns, own=True))


def push(model: str | Path, repo: str, *, public: bool = False, update: bool = False) -> str:
    """Put a model folder on the Hub as `tunny push` does and return the address of its commit."""
    return model_commands.push(str(model), repo, public=public, update=update)


def _resolved(config: str | Path | Mapping[str, Any] | Config) -> Resolved[Config]:
    if isinstance(config, (str, Path)):
        return load_config(config)
    values = config.model_dump() if isinstance(config, Config) else dict(config)
    task = values.get("task")
    if isinstance(task, type):
        values["task"] = name_of(task)
    elif isinstance(task, Mapping) and isinstance(task.get("kind"), type):
        values["task"] = {**task, "kind": name_of(task["kind"])}
    return load_config(values=values)


def _task(kind: str | type | None) -> list[tuple[str, str | None]]:
    """Return the flag of a task, none where it is not named."""
    return [] if kind is None else [("task", kind if isinstance(kind, str) else name_of(kind))]


def _load_pyfunc(path: str) -> "_Texts":
    """Open a model folder for MLflow, whose models name this module as their loader."""
    from tunny.ship.predictor import load

    return _Texts(load(path))


class _Texts:
    """What `mlflow.pyfunc` calls: texts in a list or in a table's column `text`; answers as `Predictor.predict` gives them."""

    def __init__(self, predictor: Any):
        self._predictor = predictor

    def predict(self, texts: Any) -> list[dict[str, Any]]:
        """Return one answer a text."""
        return list(self._predictor.predict(list(texts["text"] if hasattr(texts, "columns") else texts)))
