"""A classifier of small grey pictures, to show that nothing of a task is about text. Each folder of pictures is a class.

tunny train --task images:Images --data.train 'train/*/*.pgm' --data.validation 'test/*/*.pgm' --task.classes [zero,one]
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

import tunny


class Picture(NamedTuple):
    """A picture and the name of its class."""

    pixels: Tensor  # (1, H, W) float32, 0 to 1
    name: str


class Images(tunny.Task):
    """Convolutions, then a mean over the picture."""

    class Settings(tunny.Settings):
        """Stands under `task`."""

        classes: list[str] = Field(min_length=2, description="names of the classes, which are those of the folders")

    settings: Settings
    metric = "accuracy"

    def model(self) -> nn.Module:
        convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, len(self.settings.classes)))

    def read(self, path: str) -> Iterator[Picture]:
        content = Path(path).read_bytes()
        width, height, depth = map(int, content.split(maxsplit=4)[1:4])
        if not content.startswith(b"P5") or depth > 255:
            raise ValueError(f"{path}: expected a PGM picture of one byte a pixel")
        grey = torch.frombuffer(bytearray(content[-width * height :]), dtype=torch.uint8)
        yield Picture(grey.view(1, height, width) / depth, Path(path).parent.name)

    def batch(self, rows: Sequence[Picture]) -> tuple[Tensor, Tensor]:
        known = {name: number for number, name in enumerate(self.settings.classes)}
        return torch.stack([row.pixels for row in rows]), torch.tensor([known.get(row.name, -100) for row in rows])

    def train_step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="sum")

    def predict_step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> list[str]:
        return [self.settings.classes[number] for number in model(batch[0]).argmax(1).tolist()]

    def score(self, rows: Iterable[Picture], predictions: Sequence[str]) -> dict[str, float | None]:
        right = [row.name == found for row, found in zip(rows, predictions, strict=True)]
        return {"accuracy": sum(right) / len(right)}
