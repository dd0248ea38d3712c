"""An MLflow server as a mirror of the run folder: what `log.jsonl` and the reports hold is sent when the server is there to take it.

Nothing waits in memory, so nothing is lost while the server is away or when the process is killed. `mlflow.json` (or `azureml.json`) in
the run folder says which run it is and which files are there; which steps are, the server itself is asked on resuming. A batch that was
taken though its answer got lost is sent again with the same times, and MLflow's databases keep equal values once.
"""

import json
import os
import re
import sys
import tempfile
import textwrap
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tunny.core.console import say, warn
from tunny.core.errors import ConfigError, Stopped
from tunny.core.files import digest_file, read_json, write_json
from tunny.core.settings import dotenv, flat
from tunny.core.version import __version__
from tunny.training.folder import CONFIG, EVALUATIONS, MANIFEST
from tunny.training.settings import MLflowSettings
from tunny.training.trackers.base import Tracker

LONGEST = 500  # characters of a setting: what the most modest server takes, that of Azure ML
BATCH = {"params": 100, "metrics": 500}  # of one request
PART = 2**16  # bytes of the log that are sent at once
LONGEST_PAUSE = 60.0  # seconds until the next attempt, doubled each time that the server does not answer
REPORTS = ("metrics.json", "report.md", "report.html", "plots/*.svg")  # of each evaluation; predictions stay here
FILES = (CONFIG, MANIFEST, "audit.json", "split.json", "run.log", *(f"{part}/**/{one}" for part in EVALUATIONS for one in REPORTS))
WITH_TEXTS = ("audit.json", "report.html")
ENVIRONMENT = {  # unless the user set them: trying again is done here, and nobody else is told of the run
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}  # fmt: skip
LOADER = "flavors: {{python_function: {{loader_module: tunny.api, data: data, python_version: {}}}}}\n"


class MLflow(Tracker):
    """Sends settings, values, reports and, when asked, the model; what is left in the end goes with `--resume`."""

    def __init__(self, name: str, settings: MLflowSettings, folder: Path, title: str):
        for variable, value in {**ENVIRONMENT, **dotenv(Path(".env"))}.items():
            if variable.startswith(("MLFLOW_", "AZURE_", "HF_MLFLOW_")):
                os.environ.setdefault(variable, value)  # MLflow and Azure read nothing else
        self._uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("AZURE_MLFLOW_TRACKING_URI")
        if not self._uri:
            raise ConfigError(f"track.{name}: which server? Set track.{name}.uri, or MLFLOW_TRACKING_URI in the environment or .env.")
        if not self._uri.startswith(("http://", "https://")):  # what every client can serve
            _require_served(name, self._uri)
        self._name, self._settings, self._folder, self._title = name, settings, folder, f"{title}/{folder.name}"
        self.wait_seconds = settings.wait_seconds + 15.0  # and for a request that hangs
        self._path = folder / f"{name}.json"
        self._state: dict[str, Any] = {}
        self._client: Any = None
        self._offset, self._step, self._moment = 0, -1, 0  # in log.jsonl; the last step that is there, and its time
        self._status = ""  # of a run that has ended
        self._next, self._pause = 0.0, 1.0

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Make a run or go on with that of the folder."""
        fresh = {"run": None, "own": True, "began": round(time.time() * 1000), "config": dict(config), "params": False, "files": {}}
        self._state = read_json(self._path) if self._path.exists() else fresh
        self._save(whole=False)
        self.tick()

    def tick(self) -> None:
        """Send what is not there yet; say once that the server is away, and leave it alone for a while."""
        if time.monotonic() < self._next:
            return
        try:
            self._send()
        except Exception as error:
            if self._pause == 1.0:
                warn(f"track.{self._name}: {type(error).__name__}: {_said(error)}. Training goes on; what the server misses is sent later.")
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            self._next = time.monotonic() + self._pause
            return
        if self._pause > 1.0:
            say(f"track.{self._name}: the server answers again and has everything until here")
        self._pause = 1.0

    def close(self, error: BaseException | None) -> None:
        """Send all that is left while there is time, and say what remains."""
        self._status = "FINISHED" if error is None else "KILLED" if isinstance(error, Stopped) else "FAILED"
        end, self._next = time.monotonic() + self._settings.wait_seconds, 0.0
        self.tick()
        while not self._state["whole"] and error is None and time.monotonic() < end:
            time.sleep(1.0)
            self._next = 0.0
            self.tick()
        if not self._state["whole"]:
            left = sum(json.loads(line)["step"] > self._step for line in (self._folder / "log.jsonl").read_text("utf-8").splitlines())
            warn(f"track.{self._name}: {left} log points and the reports are not sent. They are in {self._folder}; --resume sends them.")

    def catch_up(self) -> None:
        """Send what a finished run could not."""
        if self._path.exists() and not read_json(self._path)["whole"]:
            self.start({}, 0)
            self.close(None)

    def _send(self) -> None:
        from mlflow.entities import Metric, Param

        if self._client is None:
            self._client = self._connected()
        if not self._state["params"]:
            settings = {_name(key): str(value) for key, value in flat(self._state["config"])}
            if cut := [key for key, value in settings.items() if len(value) > LONGEST]:
                say(f"track.{self._name}: cut at {LONGEST} characters: {', '.join(cut)}; config.yaml is sent too and holds them whole")
            self._batch("params", [Param(key, value[:LONGEST]) for key, value in settings.items()])
            self._save(params=True)
        with (self._folder / "log.jsonl").open("rb") as file:
            file.seek(self._offset)
            while whole := [line for line in file.readlines(PART) if line.endswith(b"\n")]:
                lines = [line for line in map(json.loads, whole) if line["step"] > self._step]
                moments = {line["step"]: max(self._state["began"] + round(line["time"] * 1000), self._moment) for line in lines}
                found = [(key, value, line["step"]) for line in lines for key, value in line.items() if key not in ("step", "time")]
                numbers = [one for one in found if isinstance(one[1], (int, float))]
                self._batch("metrics", [Metric(_name(key), value, moments[step], step) for key, value, step in numbers])
                self._offset, self._step = self._offset + sum(map(len, whole)), max(moments, default=self._step)
        if self._status or not self._state["files"]:
            for path in (path for pattern in FILES for path in sorted(self._folder.glob(pattern))):
                self._send_file(path)
        if self._status == "FINISHED":
            self._send_model()
        if self._status:
            if self._state["own"]:  # another's run, such as that of a job, ends when its owner ends it
                self._client.set_terminated(self._state["run"], self._status)
            self._save(whole=True)

    def _connected(self) -> Any:
        """Return MLflow's client, with the run at hand; steps that the server has are not sent again."""
        from mlflow.tracking import MlflowClient

        client, number = MlflowClient(self._uri), self._state["run"]
        if number is not None:
            known = client.get_metric_history(number, "epoch")
            self._step = max((value.step for value in known), default=-1)
            self._moment = max((value.timestamp for value in known), default=0)
            if self._state["own"]:
                client.update_run(number, status="RUNNING")
            return client
        given = self._settings.run or os.environ.get("MLFLOW_RUN_ID")
        run = client.get_run(given) if given else None
        tags = {"mlflow.runName": self._title, "tunny.version": __version__, "tunny.folder": str(self._folder.absolute())}
        if run is not None and "tunny.folder" not in run.data.tags:
            client.set_tag(given, "tunny.folder", tags["tunny.folder"])
        elif run is not None:  # it holds another training, such as that of another seed
            run = client.create_run(run.info.experiment_id, tags={**tags, "mlflow.parentRunId": given})
        else:
            run = client.create_run(self._experiment(client), tags=tags)
        self._save(run=run.info.run_id, own=run.info.run_id != given)
        say(f"track.{self._name}: run {run.info.run_id}")
        return client

    def _experiment(self, client: Any) -> str:
        name, number = self._settings.experiment, os.environ.get("MLFLOW_EXPERIMENT_ID")
        if name is None and number:
            return number
        name = name or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "tunny"
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name))

    def _save(self, **changes: Any) -> None:
        self._state |= changes
        write_json(self._path, self._state)

    def _batch(self, kind: str, values: Sequence[Any]) -> None:
        """Send values in batches; of one that the server refuses for what it is all but the culprit, which would not do better later."""
        from mlflow.exceptions import MlflowException

        for some in (values[at : at + BATCH[kind]] for at in range(0, len(values), BATCH[kind])):
            try:
                self._client.log_batch(self._state["run"], synchronous=True, **{kind: some})
            except MlflowException as error:
                if error.error_code != "INVALID_PARAMETER_VALUE":
                    raise
                if half := len(some) // 2:
                    self._batch(kind, some[:half])
                    self._batch(kind, some[half:])
                else:
                    warn(f"track.{self._name}: the server refuses {some[0].key}: {_said(error)}")

    def _send_file(self, path: Path) -> None:
        """Send a file unless it is there as it is; of an evaluation the scores as values too."""
        from mlflow.entities import Metric

        name, digest = path.relative_to(self._folder), digest_file(path)
        private = path.name in WITH_TEXTS and not self._state["config"]["evaluate"]["examples_in_card"]
        if private or self._state["files"].get(name.as_posix()) == digest:
            return
        self._client.log_artifact(self._state["run"], str(path), name.parent.as_posix() if name.parent.name else None)
        if path.name == "metrics.json":
            moment, scores = int(path.stat().st_mtime * 1000), read_json(path)["metrics"]
            known = {f"final/{name.parent.as_posix()}/{key}": value for key, value in scores.items() if value is not None}
            self._batch("metrics", [Metric(_name(key), value, moment, self._step) for key, value in known.items()])
        self._save(files={**self._state["files"], name.as_posix(): digest})

    def _send_model(self) -> None:
        """Send the model folder as a model of MLflow, which opens it with `tunny.load`; register it where a name is given."""
        from mlflow.exceptions import MlflowException

        run, title, weights = self._state["run"], self._settings.register_as, self._settings.weights
        if weights is None:
            weights = os.environ.get("HF_MLFLOW_LOG_ARTIFACTS", "").lower() in ("1", "true")
        if "model" in self._state["files"] or not (weights or title):
            return
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "MLmodel").write_text(LOADER.format(".".join(map(str, sys.version_info[:3]))), "utf-8")
            (Path(place) / "requirements.txt").write_text(f"tunny=={__version__}\npandas\n", "utf-8")
            self._client.log_artifacts(run, place, "model")
        self._client.log_artifacts(run, str(self._folder / "model"), "model/data")
        if title is not None:
            try:
                self._client.create_registered_model(title)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            version = self._client.create_model_version(title, f"{self._client.get_run(run).info.artifact_uri}/model", run).version
            say(f"track.{self._name}: registered as {title}, version {version}")
        self._save(files={**self._state["files"], "model": digest_file(self._folder / "model" / "model.safetensors")})


def _require_served(name: str, uri: str) -> None:
    """Raise ConfigError where the installed client cannot write to such an address, which no waiting would change."""
    from mlflow.tracking import MlflowClient

    try:
        MlflowClient(uri)
    except Exception as error:  # of what is only away the thread learns too, and waits for it
        if isinstance(error, ImportError) or getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE":
            raise ConfigError(
                f"track.{name}: the installed client of MLflow cannot write to {_said(uri)} ({_said(error).split('. ')[0]}). Start a server, "
                "`mlflow server` of the full package (pip install mlflow, in any environment), and give its address, http://127.0.0.1:5000; "
                "or install the full package beside Tunny and name a database, sqlite:///mlflow.db."
            ) from error


def _said(text: object) -> str:
    """Return the start of a text, in whole words and without a password in an address."""
    return textwrap.shorten(re.sub(r"//[^/@\s]*@", "//", str(text)), 300, placeholder=" ...")


def _name(text: str) -> str:
    """Return a name as MLflow takes it; every other character stands as its number."""
    return re.sub(r"[^\w\-. :/]", lambda match: f":{ord(match[0]):x}:", text)
