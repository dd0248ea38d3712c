"""Processors as users write them, in a file of their own: worker processes load it, so it loads little."""

import os
import signal
import time
from pathlib import Path

import pyarrow as pa

from tunny.data.process import DataProcessor


class Double(DataProcessor):
    def process(self, number):
        return {"number": number, "double": 2 * number}

    def analyze(self, results):
        return [result["double"] for result in results]


class Note(DataProcessor):
    """Appends a line for every item to a file, which workers share."""

    def __init__(self, path, unit="kn"):
        self.path, self.unit = str(path), unit

    def process(self, item):
        with Path(self.path).open("a") as file:
            file.write(f"{item}\n")
        return f"{item} {self.unit}"


class Uneven(DataProcessor):
    """Takes longest for the first items, so that later ones are done before them."""

    def process(self, number):
        time.sleep(0.2 if number < 2 else 0)
        return number


class Pair(DataProcessor):
    def process(self, text, label):
        return [label, text]


class Short(DataProcessor):
    """Fails on odd numbers."""

    def process(self, number):
        if number % 2:
            raise ValueError(f"{number} is odd")
        return number


class Spoils(DataProcessor):
    """Changes its items, refers from them to themselves, then fails with their text."""

    def process(self, item):
        text, item["item"] = item.pop("text"), item
        raise ValueError(f"no number: {text}")


class Lost(DataProcessor):
    def __init__(self):
        self.features = [0]
        self.seen = 0

    def process(self, item):
        if item == "set":
            self.best = item
        elif item == "count":
            self.seen += 1
        elif item == "append":
            self.features.append(item)
        return item


class Deadly(DataProcessor):
    def process(self, item):
        if item == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "exit":
            os._exit(3)
        time.sleep(0.02)
        return item


class Place(DataProcessor):
    """Tells where it works, with what it loaded there."""

    def setup(self):
        self.loaded = os.getpid()

    def process(self, item):
        time.sleep(0.05)
        return {"process": os.getpid(), "loaded": self.loaded, "threads": pa.cpu_count(), "variable": os.environ["OMP_NUM_THREADS"]}


class Unready(DataProcessor):
    def setup(self):
        raise OSError("no dictionary here")

    def process(self, item):
        return item


class Gives(DataProcessor):
    def __init__(self, what):
        self.what = what

    def process(self, item):
        return self.what
