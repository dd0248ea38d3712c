"""What tests of users' tasks share: the task `lines` of points in a plane, as a user would write it, and its data."""

import json
import random

LINES = '''
import json
import random
import numpy as np
from torch import nn, optim, rand, tensor
import tunny

class Corners(tunny.Task):
    """Whether the two numbers of a point have the same sign."""

    class Settings(tunny.Settings):
        width: int = 16
        wrong: str = ""
        stream: bool = False
        sgd: bool = False
        counting: bool = False
        draws: bool = False

    metric = "accuracy"

    def model(self):
        if self.settings.wrong == "model":
            return None
        width = self.settings.width
        return nn.Sequential(nn.Linear(2, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 2))

    def read(self, path):
        if self.settings.wrong == "read":
            raise ValueError("cannot read this")
        with open(path) as file:
            yield from map(json.loads, file)

    def rows(self, paths):
        if self.settings.wrong == "rows":
            return (row for path in paths for row in self.read(path))
        return tunny.Stream(self.read, paths) if self.settings.stream else super().rows(paths)

    def length(self, row):
        return row["long"] if self.settings.wrong == "length" and row["id"] == "train-40" else 1

    def batch(self, rows):
        if self.settings.wrong == "batch":
            return None
        drawn = [random.random() + rand(1).item() + np.random.rand() for _ in rows] if self.settings.draws else [0] * len(rows)
        return {"points": tensor([[x + more / 9, y] for (x, y), more in zip((row["point"] for row in rows), drawn)]), "same": tensor([row.get("same", 0) for row in rows]), "ids": [row["id"] for row in rows]}

    def train_step(self, model, batch):
        logits = model(batch["points"])
        wrong = self.settings.wrong
        if wrong == "elsewhere":
            logits = nn.Linear(2, 2)(batch["points"])
        loss = nn.functional.cross_entropy(logits, batch["same"], reduction="mean" if wrong == "mean" else "sum")
        if wrong == "many":
            return nn.functional.cross_entropy(logits, batch["same"], reduction="none")
        if wrong == "number":
            return loss.item()
        if wrong == "nan":
            return loss * float("nan")
        if wrong == "others":
            return (loss - logits.mean(0).sum(), batch["ids"])
        if wrong == "sometimes" and "train-40" in batch["ids"]:
            return loss
        if wrong == "apart":
            return loss.detach()
        if wrong == "train_step":
            raise KeyError("colour")
        return loss, batch["ids"][1:] if wrong == "outputs" else batch["ids"]

    def predict_step(self, model, batch):
        found = model(batch["points"]).argmax(1).tolist()
        if self.settings.wrong == "predict":
            found = found[:-1]
        if self.settings.wrong == "json":
            return [{one} for one in found]
        if self.settings.wrong == "no_number":
            return [float("nan")] * len(found)
        return [{"id": name, "same": one} for name, one in zip(batch["ids"], found)]

    def optimizer(self, model):
        if self.settings.wrong in ("optimizer", "closure", "set"):
            return {"optimizer": 3, "closure": optim.LBFGS(model.parameters()), "set": Counting(model.parameters(), {1})}[self.settings.wrong]
        if self.settings.counting:
            return Counting(model.parameters(), "of its own")
        return optim.SGD(model.parameters(), lr=0.5) if self.settings.sgd else None

    def rate(self, step, total_steps):
        if self.settings.wrong == "rate":
            return "fast"
        return 0.25 if self.settings.sgd else None

    def score(self, rows, predictions):
        pairs = list(zip(rows, predictions, strict=True))
        assert [row["id"] for row, _ in pairs] == [one["id"] for _, one in pairs]
        if self.settings.wrong == "score_name":
            pairs = zip(rows, found)
        if self.settings.wrong == "score_none":
            return None
        if self.settings.wrong == "empty":
            return {} if len(pairs) == 2 else {"accuracy": 1.0}
        name = "other" if self.settings.wrong == "score" else "accuracy"
        return {name: sum(row["same"] == one["same"] for row, one in pairs) / len(pairs)} if "same" in pairs[0][0] else {}

class Counting(optim.Optimizer):
    """Holds numbers with its groups and parameters, as Prodigy and others do."""

    def __init__(self, parameters, kept):
        super().__init__(parameters, {"lr": 0.1, "steps": 0, "betas": (0.5, 0.25)})
        self.kept = kept

    def step(self, closure=None):
        for group in self.param_groups:
            group["steps"] += 1
            assert isinstance(group["betas"], tuple)
            for parameter in group["params"]:
                state = self.state[parameter]
                state["times"], state["kept"] = state.get("times", 0) + 1, self.kept
                parameter.data.add_(parameter.grad, alpha=-group["lr"] / group["steps"] / state["times"])

class Seen(tunny.Callback):
    """Writes down the outputs of every step."""

    def step_end(self, now):
        with open(f"seen-{now.rank}.jsonl", "a") as file:
            file.write(json.dumps(list(now.outputs)) + "\\n")

class NoTask:
    pass

class Plain(Corners):
    class Settings:
        pass

class Half(tunny.Task):
    def model(self):
        return nn.Linear(2, 2)
'''


def write_points(path, count, seed=1, labelled=True):
    """Write points of a plane as lines of JSON."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            point = [draw.uniform(-1, 1), draw.uniform(-1, 1)]
            label = {"same": int(point[0] * point[1] > 0)} if labelled else {}
            file.write(json.dumps({"id": f"{path.stem}-{number}", "point": point, **label}) + "\n")
    return path
