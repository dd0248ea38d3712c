"""What an MLflow server that hangs or is gone costs a training: the time of the same steps without a tracker, and with one.

    python benchmarks/tracker_cost.py --train train.conll [--steps 60] [--rounds 3]

The server is a real one (installed into an environment of its own by the tests' helper), stopped at a third of the steps; every step is
logged. Prints the seconds of the other two thirds of each run, their medians beside each other, and whether all was sent in the end.
"""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.mlflow_server import running

import tunny


class Clock(tunny.Callback):
    """Does something to the server at a third of the steps, and times the rest."""

    def __init__(self, harm):
        self.harm, self.began, self.seconds = harm, 0.0, 0.0

    def step_end(self, now):
        if now.step == now.total_steps // 3:
            self.harm()
            self.began = time.perf_counter()
        if now.step == now.total_steps - 1:  # the last one validates and saves
            self.seconds = time.perf_counter() - self.began


def main():
    """Train in all ways in turn, round after round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", required=True)
    for name, default in (("steps", 60), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    found = {"no tracker": [], "server hangs": [], "server is gone": []}
    with tempfile.TemporaryDirectory() as name, running(Path(name)) as server:
        for number in range(arguments.rounds):
            harms = {"no tracker": lambda: None, "server hangs": lambda: server.send(signal.SIGSTOP), "server is gone": server.kill}
            for way, harm in harms.items():
                clock, track = Clock(harm), {} if way == "no tracker" else {"mlflow": {"uri": server.address, "wait_seconds": 1}}
                config = {
                    "task": "ner", "data": {"train": arguments.train}, "output_dir": f"{name}/{number}-{way}", "track": track,
                    "train": {"max_steps": arguments.steps, "log_every_steps": 1},
                }  # fmt: skip
                tunny.train(config, callbacks=[clock])
                found[way].append(clock.seconds)
                print(way, round(clock.seconds, 3), flush=True)
                if way == "server hangs":
                    server.send(signal.SIGCONT)
                elif way == "server is gone":
                    server.start()
                if track:  # --resume sends what is missing
                    tunny.train(config, resume=True)
                    whole = json.loads(Path(config["output_dir"], "mlflow.json").read_text())["whole"]
                    print("sent in the end:", whole, flush=True)
    medians = {way: statistics.median(seconds) for way, seconds in found.items()}
    print(json.dumps({"seconds": found, "ratio": {way: median / medians["no tracker"] for way, median in medians.items()}}))


if __name__ == "__main__":
    main()
