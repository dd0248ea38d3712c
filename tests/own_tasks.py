"""What tests of users' tasks share: the task `lines` of points in a plane, as a user would write it, and its data."""

import json
import random

LINES = '''
import json
from torch import nn, optim, tensor
import tunny

class Corners(tunny.Task):
    """Whether the two numbers of a point have the same sign."""

    class Settings(tunny.Settings):
        width: int = 16
        wrong: str = ""
        stream: bool = False
        sgd: bool = False

    metric = "accuracy"

    def model(self):
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
        return {"points": tensor([row["point"] for row in rows]), "same": tensor([row.get("same", 0) for row in rows]), "ids": [row["id"] for row in rows]}

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
        if self.settings.wrong == "nan":
            return [float("nan")] * len(found)
        return [{"id": name, "same": one} for name, one in zip(batch["ids"], found)]

    def optimizer(self, model):
        return optim.SGD(model.parameters(), lr=0.5) if self.settings.sgd else None

    def rate(self, step, total_steps):
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

class Seen(tunny.Callback):
    """Writes down the outputs of every step."""

    def step_end(self, now):
        with open(f"seen-{now.rank}.jsonl", "a") as file:
            file.write(json.dumps(list(now.outputs)) + "\\n")

class NoTask:
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
