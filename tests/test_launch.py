"""Training in several processes of this machine, by gloo."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import save_model
from tests.trained import write_data

SAMPLE = Path(__file__).parent.parent / "src/tunny/samples/harbour.yaml"
SHORT = (
    "--train.epochs=1",
    "--train.max_steps=6",
    "--train.log_every_steps=1",
    "--engine.micro_batch_limit=2",
    "--checkpoint.every_steps=2",
)
ALONE = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}

pytestmark = pytest.mark.slow


def tunny(*arguments, processes=1, restarts=0, **environment):
    """Start the command line and return the process, which writes to a pipe."""
    launch = ["launch", "-n", str(processes), "--max-restarts", str(restarts)] if processes > 1 else []
    command = [sys.executable, "-m", "tunny", *launch, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**ALONE, "OMP_NUM_THREADS": "1", **environment})


def trained(folder, *settings, processes=1):
    """Train the sample for a few steps and return what was printed."""
    done = tunny("train", SAMPLE, "--output_dir", folder, *SHORT, *settings, processes=processes)
    said = done.communicate(timeout=300)[1]
    assert done.returncode == 0, said
    return said


def log(folder, name="train/loss"):
    """Return a value of every step."""
    return [json.loads(line)[name] for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def answers(folder):
    """Return the lines of the test set's predictions."""
    return [json.loads(line) for line in (folder / "test/predictions.jsonl").read_text("utf-8").splitlines()]


def digest(folder):
    return hashlib.sha256((folder / "model/model.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one process with four micro-batches a step."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    trained(folder)
    return folder


@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "accelerate"])
def test_two_processes_learn_what_one_does(strategy, alone, tmp_path):
    said = trained(tmp_path / "run", f"--engine.strategy={strategy}", processes=2)
    assert f"strategy: {strategy} (2 processes)" in said
    assert log(tmp_path / "run") == pytest.approx(log(alone), abs=1e-5)
    assert log(tmp_path / "run", "train/grad_norm") == pytest.approx(log(alone, "train/grad_norm"), rel=1e-4)
    ours, theirs = ((folder, answers(folder)) for folder in (tmp_path / "run", alone))
    assert [one["id"] for one in ours[1]] == [one["id"] for one in theirs[1]]
    scores = [json.loads((folder / "test/metrics.json").read_text("utf-8"))["metrics"] for folder, _ in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_every_line_is_said_once(tmp_path):
    said = trained(tmp_path / "run", processes=2).splitlines()
    assert [line for line in said if line.startswith("step ")] == [line for line in dict.fromkeys(said) if line.startswith("step ")]
    assert sum(line.startswith("model: ") for line in said) == 1


@pytest.mark.parametrize(
    ("begun", "processes", "strategy"),
    [("ddp", 1, "auto"), ("ddp", 3, "ddp"), ("ddp", 3, "fsdp"), ("fsdp", 1, "auto"), ("fsdp", 2, "ddp"), ("fsdp", 3, "fsdp")],
)
def test_a_run_of_two_processes_goes_on_with_any_number(begun, processes, strategy, alone, tmp_path):
    folder = tmp_path / "run"
    first = tunny("train", SAMPLE, "--output_dir", folder, *SHORT, f"--engine.strategy={begun}", processes=2)
    for line in first.stderr:
        if line.startswith("step 3/"):
            first.send_signal(signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode == 143
    steps = sorted(path.name for path in (folder / "checkpoints").iterdir())
    said = trained(folder, "--resume", f"--engine.strategy={strategy}", processes=processes)
    assert f"resuming from step {steps[-1].removeprefix('step-')}" in said
    assert len(log(folder)) == 6
    if processes == 1:
        assert log(folder) == pytest.approx(log(alone), abs=1e-5)


def kill_a_worker(launcher, step):
    """Kill a process of a group with SIGKILL when a step was printed, the last rank; return what was printed until then."""
    said = []
    for line in launcher.stderr:
        said.append(line)
        if line.startswith(f"step {step}/"):
            break
    os.kill(worker_of(launcher.pid), signal.SIGKILL)
    return "".join(said)


def parent_of(number):
    try:
        return int(Path(f"/proc/{number}/stat").read_text("utf-8").rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5] * 2)
def test_a_killed_process_changes_nothing_but_the_time(step, alone, tmp_path):
    launcher = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", *SHORT, processes=2, restarts=3)
    said = kill_a_worker(launcher, step) + launcher.communicate(timeout=300)[1]
    assert launcher.returncode == 0, said
    calm = alone.parent / "two"
    if not calm.exists():
        trained(calm, processes=2)
    assert digest(tmp_path / "run") == digest(calm)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_killed_on_one_machine_restarts_those_of_all(killed, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--nnodes=2", "--nproc_per_node=1", "--max-restarts=3", "--rdzv_backend=c10d", f"--rdzv_endpoint=127.0.0.1:{port}"]
    command = [sys.executable, "-m", "torch.distributed.run", *where, "--local_addr=127.0.0.1", "-m", "tunny", "train", SAMPLE]
    agents = []
    for number in range(2):  # each as a machine of its own
        environment = {**ALONE, "OMP_NUM_THREADS": "1", "TUNNY_CACHE": str(tmp_path / f"cache-{number}")}
        with (tmp_path / f"said-{number}").open("w") as said:
            agents.append(subprocess.Popen([*command, "--output_dir", tmp_path / "run", *SHORT], stderr=said, env=environment))
    started = time.monotonic()
    while not (tmp_path / "run/checkpoints/step-2").exists():
        assert time.monotonic() - started < 120
        time.sleep(0.1)
    os.kill(worker_of(agents[killed].pid), signal.SIGKILL)
    codes = [agent.wait(200) for agent in agents]
    assert codes == [0, 0], "".join(path.read_text("utf-8") for path in tmp_path.glob("said-*"))
    assert len(log(tmp_path / "run")) == 6
    assert json.loads((tmp_path / "run/manifest.json").read_text("utf-8"))["resumed_from"]


def worker_of(launcher):
    """Return the last process that a launcher started."""
    return max(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and parent_of(int(path.name)) == launcher)


def test_without_restarts_all_end_within_a_minute_and_the_killed_one_is_named(tmp_path):
    launcher = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", *SHORT, processes=2)
    kill_a_worker(launcher, 2)
    started = time.monotonic()
    said = launcher.communicate(timeout=60)[1]
    assert time.monotonic() - started < 60
    assert launcher.returncode == 128 + signal.SIGKILL
    assert "rank 1 of 2 ended by SIGKILL; the others were ended too" in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--data.train", "absent.json"), "absent.json"),
        (("--engine.strategy", "single"), "single is for one process, and 2 were started"),
        (("--engine.device", "cuda:0"), "cuda:0"),
    ],
)
def test_what_the_user_can_mend_ends_with_its_own_code(settings, message, tmp_path):
    done = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", *settings, processes=2)
    said = done.communicate(timeout=60)[1]
    assert done.returncode == 2
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_a_strategy_for_many_needs_many(tmp_path):
    done = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", "--engine.strategy", "ddp")
    assert "ddp needs several processes. Start with: tunny launch -n 2" in done.communicate(timeout=60)[1]
    assert done.returncode == 2


def test_two_groups_do_not_share_a_folder(tmp_path):
    first = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", *SHORT, "--train.max_steps=10000", processes=2)
    for line in first.stderr:
        if line.startswith("step 1/"):
            break
    second = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", *SHORT, "--overwrite", processes=2)
    said = second.communicate(timeout=100)[1]
    first.send_signal(signal.SIGTERM)
    last = first.communicate(timeout=100)[1]
    assert "is in use by process" in said
    assert "stopped by SIGTERM" in last
    assert "torch/distributed" not in last
    assert (first.returncode, second.returncode) == (143, 2)


@pytest.mark.parametrize(
    ("command", "message"), [("env", "2 processes were started for tunny env, which is for one"), ("launch", "expected a command")]
)
def test_commands_that_one_process_does_alone_are_refused(command, message):
    done = tunny(command, processes=2)
    said = done.communicate(timeout=60)[1]
    assert message in said
    assert done.returncode == 2


def test_several_seeds_are_for_one_process(tmp_path):
    done = tunny("train", SAMPLE, "--output_dir", tmp_path / "run", "--train.seeds", "[1, 2]", processes=2)
    assert "train.seeds: trains one run after another" in done.communicate(timeout=60)[1]
    assert done.returncode == 2


def test_launch_without_a_command_is_refused():
    done = tunny("launch", "-n", "2")
    assert "COMMAND" in done.communicate(timeout=60)[1]
    assert done.returncode == 2


def run_ner(folder, *arguments, **options):
    """Start run-ner on words of people and places, with a tiny model, in two processes."""
    model, (train, validation) = save_model("bert", folder / "model"), write_data("ner", folder)
    files = ["--model_name_or_path", model, "--train_file", train, "--validation_file", validation, "--output_dir", folder / "out"]
    return tunny("run-ner", *files, "--max_seq_length", 64, *arguments, processes=2, **options)


def test_a_killed_process_of_run_ner_changes_nothing_but_the_time(tmp_path):
    launcher = run_ner(tmp_path, "--do_train", "--do_eval", "--max_steps", 6, "--logging_steps", 1, "--save_steps", 2, restarts=3)
    said = kill_a_worker(launcher, 3) + launcher.communicate(timeout=300)[1]
    assert launcher.returncode == 0, said
    state = json.loads((tmp_path / "out/trainer_state.json").read_text("utf-8"))
    assert [line["step"] for line in state["log_history"]] == [1, 2, 3, 4, 5, 6]
    assert "eval_f1" in json.loads((tmp_path / "out/all_results.json").read_text("utf-8"))
    assert said.count("report: ") == 1


def test_run_ner_without_training_is_for_one_process(tmp_path):
    done = run_ner(tmp_path, "--do_eval")
    assert "2 processes were started, and only --do_train is for several" in done.communicate(timeout=60)[1]
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()
