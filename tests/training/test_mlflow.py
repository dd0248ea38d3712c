"""The MLflow tracker beside a real server, and without one."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.label_studio_server import free_port
from tests.mlflow_server import running
from tests.training.runs import PowerCut, cut_at, go, in_training_forward, log, settings
from tunny import seeds
from tunny.config import load_config
from tunny.core.errors import ConfigError
from tunny.training.trackers.base import LogFile
from tunny.training.trackers.mlflow import MLflow
from tunny.training.trackers.together import Trackers, make_trackers

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own
NAMES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_RUN_ID",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_EXPERIMENT_ID",
    "AZURE_MLFLOW_TRACKING_URI",
    "HF_MLFLOW_LOG_ARTIFACTS",
)


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    """Each test has an environment of its own, as the tracker completes it from `.env`, and a working folder."""
    before = dict(os.environ)
    for name in NAMES:
        os.environ.pop(name, None)
    monkeypatch.chdir(tmp_path)
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("track."):  # one that was left behind
            thread.join(30)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture
def client(server):
    from mlflow.tracking import MlflowClient

    return MlflowClient(server.address)


def state(folder, name="mlflow"):
    return json.loads((folder / f"{name}.json").read_text())


def history(client, folder):
    """Return the values of a run on the server, with their steps, in the order in which they came."""
    run = client.get_run(state(folder)["run"])
    return {name: [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)] for name in run.data.metrics}


def expected(folder):
    found = {}
    for line in log(folder):
        for name, value in line.items():
            if isinstance(value, (int, float)) and name not in ("step", "time"):
                found.setdefault(name, []).append((line["step"], value))
    return found


def final(folder, name="validation"):
    scores = json.loads((folder / name / "metrics.json").read_text())["metrics"]
    return {f"final/{name}/{metric}": [(log(folder)[-1]["step"], value)] for metric, value in scores.items() if value is not None}


def files(client, run, path=None):
    found = []
    for one in client.list_artifacts(run, path):
        found += files(client, run, one.path) if one.is_dir else [one.path]
    return found


def slowly(act, seconds=0.15):
    """Make training slow enough for a server, and call `act` with the number of each forward pass."""

    def each(number):
        time.sleep(seconds)
        act(number)

    return in_training_forward(each)


@pytest.mark.slow
def test_the_server_has_settings_values_and_reports_of_a_run(tmp_path, tiny_bert, server, client):
    folder = go(settings(tmp_path, tiny_bert, "classify", track={"mlflow": {"uri": server.address, "experiment": "harbour"}}, name="ferry"))
    run = client.get_run(state(folder)["run"])
    assert history(client, folder) == {**expected(folder), **final(folder)}
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "harbour"
    assert run.data.tags["mlflow.runName"] == "ferry/run"
    assert run.data.params["train.learning_rate"] == "0.001"
    assert run.data.params["task.kind"] == "classify"
    there = files(client, run.info.run_id)
    reports = {"validation/metrics.json", "validation/report.html", "validation/plots/confusion.svg"}
    assert {"config.yaml", "manifest.json", "audit.json", "run.log", *reports} <= set(there)
    assert not [name for name in there if "predictions" in name or "model" in name]
    content = (server.folder / "artifacts" / run.info.experiment_id / run.info.run_id / "artifacts" / "manifest.json").read_text()
    assert content == (folder / "manifest.json").read_text()
    assert json.loads(content)["finished"]


@pytest.mark.slow
def test_where_texts_are_private_no_page_with_texts_is_sent(tmp_path, tiny_bert, server, client):
    folder = go(settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address}}, evaluate={"examples_in_card": False}))
    there = files(client, state(folder)["run"])
    assert "validation/report.md" in there
    assert not [name for name in there if name.endswith(("report.html", "audit.json"))]


@pytest.mark.slow
def test_a_registered_model_answers_as_the_model_folder_does(tmp_path, tiny_bert, server, client):
    import mlflow

    import tunny

    folder = go(settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address, "register_as": "harbour"}}))
    version = client.get_model_version("harbour", "1")
    assert version.run_id == state(folder)["run"]
    mlflow.set_tracking_uri(server.address)
    mlflow.set_registry_uri(server.address)
    loaded = mlflow.pyfunc.load_model("models:/harbour/1")
    texts = ["Marie Curie was born in Warsaw.", "Rough seas."]
    assert loaded.predict(texts) == tunny.load(folder / "model").predict(texts)


@pytest.mark.slow
def test_a_server_that_hangs_in_the_middle_of_a_run_loses_nothing(tmp_path, tiny_bert, server, client, capsys):
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "2"
    at = {8: lambda: server.send(signal.SIGSTOP), 34: lambda: server.send(signal.SIGCONT)}
    values = settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address}}, train__epochs=4)
    with slowly(lambda number: at.get(number, lambda: None)(), 0.25):
        folder = go(values)
    assert history(client, folder) == {**expected(folder), **final(folder)}
    said = capsys.readouterr().err
    assert said.count("Training goes on; what the server misses is sent later.") == 1
    assert "the server answers again and has everything until here" in said


@pytest.mark.slow
def test_what_a_dead_server_misses_is_sent_by_resuming_the_finished_run(tmp_path, tiny_bert, client, server, capsys):
    values = settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address, "wait_seconds": 1}})

    def kill_when_there():
        end = time.monotonic() + 60
        while time.monotonic() < end and not (state(tmp_path / "run")["run"] and "train/loss" in history(client, tmp_path / "run")):
            time.sleep(0.2)
        server.kill()

    try:
        with in_training_forward(lambda number: kill_when_there() if number == 15 else None):
            folder = go(values)
        assert "log points and the reports are not sent" in capsys.readouterr().err
        assert not state(folder)["whole"]
    finally:
        server.start()
    lines = (folder / "log.jsonl").read_bytes()
    assert max(step for step, _ in history(client, folder)["train/loss"]) < 20
    go(values, resume=True)
    assert history(client, folder) == {**expected(folder), **final(folder)}
    assert client.get_run(state(folder)["run"]).info.status == "FINISHED"
    assert state(folder)["whole"]
    assert (folder / "log.jsonl").read_bytes() == lines


@pytest.mark.slow
@pytest.mark.parametrize("cut", [3, 14], ids=["before the first checkpoint", "after one"])
def test_a_resumed_run_goes_on_in_its_run_with_each_step_once(tmp_path, steady_bert, server, client, cut):
    values = settings(tmp_path, steady_bert, track={"mlflow": {"uri": server.address}}, checkpoint__every_steps=5)
    with slowly(lambda number: None, 0.5 if cut == 3 else 0.25), cut_at(cut), pytest.raises(PowerCut):
        go(values)
    folder = tmp_path / "run"
    first = state(folder)["run"]
    assert client.get_run(first).info.status == "FAILED"
    go(values, resume=True)
    found = history(client, folder)
    assert state(folder)["run"] == first
    assert [step for step, _ in found["train/loss"]] == list(range(1, 21))
    assert found["train/loss"] == expected(folder)["train/loss"]
    assert client.get_run(first).info.status == "FINISHED"


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_its_log_holds(tmp_path, tiny_bert, server, client):
    values = settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address}}, checkpoint__every_steps=5)
    code = f"""
import os, signal, time
from tests.training.runs import go, in_training_forward
def act(number):
    time.sleep(0.2)
    if number == 18:
        os.kill(os.getpid(), signal.SIGKILL)
with in_training_forward(act):
    go({values!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    folder = go(values, resume=True)
    found = history(client, folder)
    assert [step for step, _ in found["train/loss"]] == list(range(1, 21))
    assert [step for step, _ in found["validation/f1"]] == [10, 20]


@pytest.mark.slow
def test_server_experiment_and_weights_come_from_the_names_in_dotenv(tmp_path, tiny_bert, server, client):
    lines = [f"AZURE_MLFLOW_TRACKING_URI='{server.address}'", "MLFLOW_EXPERIMENT_NAME=entities", 'HF_MLFLOW_LOG_ARTIFACTS="1"']
    (tmp_path / ".env").write_text("\n".join([*lines, "TUNNY__TRACK=[mlflow]", "HOME=/nowhere"]))
    folder = go(settings(tmp_path, tiny_bert))
    run = client.get_run(state(folder)["run"])
    assert client.get_experiment(run.info.experiment_id).name == "entities"
    assert "model/data/model.safetensors" in files(client, run.info.run_id)
    assert os.environ["HOME"] != "/nowhere"


@pytest.mark.slow
def test_the_run_of_a_job_is_written_into_and_left_open_and_other_seeds_stand_below_it(tmp_path, tiny_bert, server, client):
    job = client.create_run(client.create_experiment("job"))
    os.environ |= {"MLFLOW_TRACKING_URI": server.address, "MLFLOW_RUN_ID": job.info.run_id}
    values = settings(tmp_path, tiny_bert, track=["mlflow"], train__epochs=1, train__seeds=[1, 2])
    folder = seeds.train(load_config(values=values))
    first, second = folder / "seed-1", folder / "seed-2"
    assert state(first)["run"] == job.info.run_id
    assert client.get_run(job.info.run_id).info.status == "RUNNING"
    below = client.get_run(state(second)["run"])
    assert below.data.tags["mlflow.parentRunId"] == job.info.run_id
    assert below.info.experiment_id == job.info.experiment_id
    assert below.info.status == "FINISHED"
    assert (history(client, first)["train/loss"], history(client, second)["train/loss"]) == (
        expected(first)["train/loss"], expected(second)["train/loss"]
    )  # fmt: skip


@pytest.mark.slow
def test_a_setting_that_the_server_refuses_or_cuts_is_said_and_keeps_nothing_back(tmp_path, tiny_bert, server, client, capsys):
    job = client.create_run(client.create_experiment("refusing"))
    client.log_param(job.info.run_id, "seed", "another")
    name = "a" * 600
    values = settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address, "run": job.info.run_id}}, name=name)
    folder = go(values)
    said = capsys.readouterr().err
    assert said.count("the server refuses seed:") == 1
    assert "cut at 500 characters: name;" in said
    assert history(client, folder) == {**expected(folder), **final(folder)}
    found = client.get_run(job.info.run_id).data.params
    assert found["seed"] == "another"
    assert found["name"] == "a" * 500
    assert found["train.epochs"] == "2"


@pytest.mark.slow
def test_a_variable_in_a_setting_is_not_told(tmp_path, tiny_bert, server, client):
    os.environ["HARBOUR_SECRET"] = "turbot"
    folder = go(settings(tmp_path, tiny_bert, track={"mlflow": {"uri": server.address}}, name="x-${HARBOUR_SECRET}"))
    run = client.get_run(state(folder)["run"])
    assert run.data.params["name"] == "x-${HARBOUR_SECRET}"
    assert "turbot" not in json.dumps(state(folder))


@pytest.mark.slow
def test_logging_to_a_server_that_hangs_costs_less_than_two_percent_of_a_step(tmp_path, tiny_bert, server):
    """A step of the smallest model here takes some milliseconds; a log point must cost 2 % of that on the training path."""
    values = settings(tmp_path, tiny_bert)
    steps = [line["time"] for line in log(go(values))]
    step_seconds = (steps[8] - steps[0]) / 8

    def cost(others, place):
        (tmp_path / place).mkdir()
        trackers, times = Trackers(LogFile(tmp_path / place / "log.jsonl"), others), []
        with contextlib.suppress(PowerCut), trackers.started({"evaluate": {"examples_in_card": True}}, 0):
            time.sleep(3)  # the server has the run
            if others:
                server.send(signal.SIGSTOP)
            for step in range(1, 1001):
                time.sleep(0.002)
                began = time.perf_counter()
                trackers.log({"epoch": 0.1, "time": 0.1, "train/loss": 1.0}, step)
                times.append(time.perf_counter() - began)
            raise PowerCut
        return sum(times) / len(times)

    options = load_config(values={"task": "ner", "track": {"mlflow": {"uri": server.address}}}).settings.track.mlflow
    try:
        alone = cost({}, "alone")
        added = cost({"mlflow": MLflow("mlflow", options, tmp_path / "beside", "x")}, "beside") - alone
    finally:
        server.send(signal.SIGCONT)
    print(f"a log point: log.jsonl {alone * 1e6:.1f} µs, MLflow {added * 1e6:.1f} µs more; a step: {step_seconds * 1e3:.1f} ms")
    assert added < 0.02 * step_seconds


def test_a_server_that_is_not_there_stops_nothing_and_the_rest_is_named(tmp_path, tiny_bert, capsys):
    address = f"http://user:turbot@127.0.0.1:{free_port()}"
    folder = go(settings(tmp_path, tiny_bert, track={"mlflow": {"uri": address, "wait_seconds": 1}}))
    said = capsys.readouterr().err
    assert said.count(" .... Training goes on; what the server misses is sent later.") == 1  # cut between words, and that is seen
    assert f"track.mlflow: 20 log points and the reports are not sent. They are in {folder}; --resume sends them." in said
    assert "turbot" not in said
    assert len(log(folder)) == 20
    assert json.loads((folder / "manifest.json").read_text())["finished"]


@pytest.mark.parametrize("uri", ["sqlite:///ml.db", "file:./mlruns", "./mlruns", "127.0.0.1:5000", "postgresql://user:turbot@host/x"])
def test_an_address_that_the_installed_client_cannot_serve_is_refused_before_training(tmp_path, tiny_bert, uri):
    os.environ["MLFLOW_TRACKING_URI"] = uri
    with pytest.raises(ConfigError) as caught:
        go(settings(tmp_path, tiny_bert, track=["mlflow"]))
    message = str(caught.value)
    assert message.startswith(f"track.mlflow: the installed client of MLflow cannot write to {uri.replace('user:turbot@', '')} (")
    assert "`mlflow server`" in message
    assert "turbot" not in message
    assert not [path.name for path in tmp_path.iterdir() if path.name in ("run", "mlruns", "ml.db")]


def test_a_server_that_takes_and_never_answers_stops_nothing(tmp_path, tiny_bert, capsys):
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "2"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        folder = go(settings(tmp_path, tiny_bert, track={"mlflow": {"uri": address, "wait_seconds": 1}}))
    assert "20 log points and the reports are not sent" in capsys.readouterr().err
    assert len(log(folder)) == 20


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (["mlflow"], "track.mlflow: which server? Set track.mlflow.uri, or MLFLOW_TRACKING_URI in the environment or .env."),
        (["azureml"], "track.azureml: azureml.mlflow is not installed. Run: pip install 'tunny[azureml]'"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(tmp_path, tiny_bert, track, message):
    with pytest.raises(ConfigError) as caught:
        go(settings(tmp_path, tiny_bert, track=track))
    assert str(caught.value) == message
    assert not (tmp_path / "run").exists()


def test_settings_come_before_the_environment(tmp_path):
    os.environ["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:1"
    track = load_config(values={"task": "ner", "track": {"mlflow": {"uri": "http://127.0.0.1:2"}}}).settings.track
    assert make_trackers(track, tmp_path, "x")._others["mlflow"]._uri == "http://127.0.0.1:2"


def test_mlflow_is_imported_only_when_it_is_asked_for(tmp_path, tiny_bert):
    code = f"import sys; from tests.training.runs import go; go({settings(tmp_path, tiny_bert)!r}); print('mlflow' in sys.modules)"
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout == "False\n"
