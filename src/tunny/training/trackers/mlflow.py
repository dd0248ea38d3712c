"""An MLflow server as a mirror of the run folder: what `log.jsonl` and the reports hold is sent when the server is there to take it.

Nothing waits in memory, so nothing is lost while the server is away or when the process is killed. `mlflow.json` (or `azureml.json`) in the run
folder says which run it is and which files are there; which steps are, the server itself is asked on resuming. A batch that was taken though its
answer got lost is sent again with the same times, and MLflow's databases keep equal values once. It all happens on a thread aside.
"""

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tunny.core.console import say, warn
from tunny.core.errors import ConfigError, Stopped
from tunny.core.files import digest_file, read_json, write_json
from tunny.core.settings import dotenv, flat
from tunny.core.version import __version__
from tunny.training.folder import EVALUATIONS
from tunny.training.settings import MLflowSettings
from tunny.training.trackers.base import Evaluated, Tracker, Values

LONGEST = 500  # characters of a setting: what the most modest server takes, that of Azure ML
BATCH, PARAMS = 500, 100  # values and settings of one request
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between two requests; doubled each time that the server does not answer
SENT = ("config.yaml", "manifest.json", "audit.json", "split.json", "run.log")
REPORTS = ("metrics.json", "report.md", "report.html", "plots/*.svg")  # of each evaluation; predictions hold texts and stay here
ENVIRONMENT = {  # unless the user set them: the thread has patience enough of its own, and nobody else is told of the run
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
LOADER = "flavors: {{python_function: {{loader_module: tunny.api, data: data, python_version: {python}}}}}\n"


class MLflow(Tracker):
    """Sends settings, values, reports and, when asked, the model; what is left in the end goes with `--resume`."""

    def __init__(self, name: str, settings: MLflowSettings, folder: Path, title: str):
        for variable, value in {**dotenv(Path(".env")), **ENVIRONMENT}.items():
            if variable.startswith(("MLFLOW_", "AZURE_", "HF_MLFLOW_")):
                os.environ.setdefault(variable, value)  # MLflow and Azure read nothing else
        uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("AZURE_MLFLOW_TRACKING_URI")
        if not uri:
            raise ConfigError(f"track.{name}: which server? Set track.{name}.uri, or MLFLOW_TRACKING_URI in the environment or .env.")
        self._name, self._settings, self._folder, self._uri = name, settings, folder, uri
        self._path = folder / f"{name}.json"
        self._title = f"{title}/{folder.name}"
        asked = settings.weights
        self._weights = asked if asked is not None else os.environ.get("HF_MLFLOW_LOG_ARTIFACTS", "").lower() in ("1", "true")
        self.wait_seconds = settings.wait_seconds + 15.0  # and for a request that hangs
        self._client: Any = None
        self._state: dict[str, Any] = {}
        self._offset, self._step = 0, -1  # in log.jsonl, and the last step that is there
        self._status = ""  # of a run that has ended
        self._next, self._pause = 0.0, PAUSE

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Make a run or go on with that of the folder."""
        fresh = {"run": None, "own": True, "began": round(time.time() * 1000), "config": dict(config), "params": False, "files": {}}
        self._state = read_json(self._path) if self._path.exists() else fresh
        self._save(whole=False)
        self._sync()

    def log(self, values: Values, step: int) -> None:
        """Send what log.jsonl has gained."""
        self._sync()

    def idle(self) -> None:
        """Send what could not be sent before."""
        self._sync()

    def evaluated(self, found: Mapping[str, Evaluated], step: int) -> None:
        """Send the reports, which close does: the log of the run is whole then."""

    def close(self, error: BaseException | None) -> None:
        """Send all that is left while there is time, and say what remains."""
        self._status = "FINISHED" if error is None else "KILLED" if isinstance(error, Stopped) else "FAILED"
        end = time.monotonic() + self._settings.wait_seconds
        self._next = 0.0
        while not self._sync() and error is None and time.monotonic() < end:
            time.sleep(PAUSE)
            self._next = 0.0
        if not self._state["whole"]:
            lines = len(self._new()[0])
            what = f"{lines} values and the reports" if lines else "the end of the run"
            warn(f"track.{self._name}: {what} are not on the server yet. They are kept in {self._folder}; --resume sends them.")

    def catch_up(self) -> None:
        """Send what a finished run could not."""
        if self._path.exists() and not read_json(self._path)["whole"]:
            self.start({}, 0)
            self.close(None)

    def _sync(self) -> bool:
        """Send what is not there yet and return whether all is; say once that the server is away, and leave it alone for a while."""
        if time.monotonic() < self._next:
            return False
        try:
            self._send()
        except Exception as error:
            if self._pause == PAUSE:
                said = re.sub(r"//[^/@\s]*@", "//", " ".join(str(error).split()))[:300]  # no password of an address
                warn(f"track.{self._name}: {type(error).__name__}: {said}. Training goes on; what the server misses is sent later.")
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._next = time.monotonic() + self._pause
            return False
        if self._pause != PAUSE:
            say(f"track.{self._name}: the server answers again and has everything until here")
        self._pause = PAUSE
        self._next = time.monotonic() + PAUSE
        return True

    def _send(self) -> None:
        if self._client is None:
            self._client = self._connected()
        if not self._state["params"]:
            self._send_params()
        values, offset, step = self._new()
        for at in range(0, len(values), BATCH):
            self._batch(metrics=values[at : at + BATCH])
        self._offset, self._step = offset, step
        for path in self._files() if self._status or not self._state["files"] else ():
            self._send_file(path)
        if self._status == "FINISHED" and self._weights:
            self._send_model()
        if self._status:
            if self._state["own"]:  # another's run, such as that of a job, ends when its owner ends it
                self._client.set_terminated(self._state["run"], self._status)
            self._save(whole=True)

    def _connected(self) -> Any:
        """Return MLflow's client, with the run at hand; steps that the server has are not sent again."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(self._uri)
        if self._state["run"] is not None:
            known = client.get_metric_history(self._state["run"], "epoch")
            self._step = max((value.step for value in known), default=-1)
            if self._state["own"]:
                client.update_run(self._state["run"], status="RUNNING")
            return client
        given = self._settings.run or os.environ.get("MLFLOW_RUN_ID")
        run = client.get_run(given) if given else None
        if run is None or self._settings.nested:
            tags = {"mlflow.runName": self._title, "tunny.version": __version__, "tunny.folder": str(self._folder)}
            tags |= {"mlflow.parentRunId": given} if given else {}
            run = client.create_run(run.info.experiment_id if run else self._experiment(client), tags=tags)
        self._save(run=run.info.run_id, own=run.info.run_id != given)
        say(f"track.{self._name}: run {run.info.run_id}")
        return client

    def _experiment(self, client: Any) -> str:
        """Return the id of the experiment, made where there is none of its name."""
        if self._settings.experiment is None and (number := os.environ.get("MLFLOW_EXPERIMENT_ID")):
            return number
        name = self._settings.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tunny"
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))

    def _save(self, **changes: Any) -> None:
        self._state |= changes
        write_json(self._path, self._state)

    def _batch(self, **values: Any) -> None:
        """Send one batch; say what the server refuses for what it is, as sending it again would not help."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_batch(self._state["run"], synchronous=True, **values)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            names = ", ".join(one.key for some in values.values() for one in some)[:200]
            warn(f"track.{self._name}: the server refuses {names}: {' '.join(str(error).split())[:300]}. The run folder holds them.")

    def _send_params(self) -> None:
        """Send the settings as they were written, so that no `${VAR}` is told."""
        from mlflow.entities import Param

        settings = {_name(key): str(value) for key, value in flat(self._state["config"])}
        cut = [key for key, value in settings.items() if len(value) > LONGEST]
        if cut:
            say(f"track.{self._name}: cut at {LONGEST} characters: {', '.join(cut)}; config.yaml, which is sent too, holds them whole")
        params = [Param(key, value[:LONGEST]) for key, value in settings.items()]
        for at in range(0, len(params), PARAMS):
            self._batch(params=params[at : at + PARAMS])
        self._save(params=True)

    def _new(self) -> tuple[list[Any], int, int]:
        """Return the values of log.jsonl that are not there yet, the place behind them, and their last step."""
        from mlflow.entities import Metric

        with (self._folder / "log.jsonl").open("rb") as file:
            file.seek(self._offset)
            content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        found, step = [], self._step
        for line in map(json.loads, whole.splitlines()):
            if line["step"] > self._step:
                step = line["step"]
                moment = self._state["began"] + round(line["time"] * 1000)
                numbers = {key: value for key, value in line.items() if isinstance(value, (int, float)) and key not in ("step", "time")}
                found += [Metric(_name(key), float(value), moment, step) for key, value in numbers.items()]
        return found, self._offset + len(whole), step

    def _files(self) -> Iterator[Path]:
        """Yield the files to send that are there; the log only when the run has ended."""
        patterns = [
            *SENT[: None if self._status else -1],
            *(f"{part}/{deep}{name}" for part in EVALUATIONS for deep in ("", "*/") for name in REPORTS),
        ]
        for pattern in patterns:
            yield from sorted(self._folder.glob(pattern))

    def _send_file(self, path: Path) -> None:
        """Send a file unless it is there as it is; of an evaluation the scores as values too."""
        from mlflow.entities import Metric

        name = path.relative_to(self._folder)
        digest = digest_file(path)
        if self._state["files"].get(name.as_posix()) == digest:
            return
        self._client.log_artifact(self._state["run"], str(path), name.parent.as_posix() if name.parent.name else None)
        if name.name == "metrics.json":
            scores = {f"final/{name.parent.as_posix()}/{key}": value for key, value in read_json(path)["metrics"].items()}
            moment = int(path.stat().st_mtime * 1000)
            values = [Metric(_name(key), float(value), moment, max(self._step, 0)) for key, value in scores.items() if value is not None]
            self._batch(metrics=values)
        self._save(files={**self._state["files"], name.as_posix(): digest})

    def _send_model(self) -> None:
        """Send the model folder as a model of MLflow, which opens it with `tunny.load`; register it when asked."""
        run = self._state["run"]
        digest = digest_file(self._folder / "model" / "model.safetensors")
        if self._state["files"].get("model") == digest:
            return
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "MLmodel").write_text(LOADER.format(python=".".join(map(str, sys.version_info[:3]))), "utf-8")
            (Path(place) / "requirements.txt").write_text(f"tunny=={__version__}\npandas\n", "utf-8")
            self._client.log_artifacts(run, place, "model")
        self._client.log_artifacts(run, str(self._folder / "model"), "model/data")
        if self._settings.register_as is not None:
            from mlflow.exceptions import MlflowException

            try:
                self._client.create_registered_model(self._settings.register_as)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            source = f"{self._client.get_run(run).info.artifact_uri}/model"
            version = self._client.create_model_version(self._settings.register_as, source, run)
            say(f"track.{self._name}: registered as {self._settings.register_as}, version {version.version}")
        self._save(files={**self._state["files"], "model": digest})


def _name(text: str) -> str:
    """Return a name as MLflow takes it; every other character stands as its number."""
    return re.sub(r"[^\w\-. :/]", lambda match: f":{ord(match[0]):x}:", text)
