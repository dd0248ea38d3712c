"""TensorBoard event files: scalars at once, histograms when asked for, figures and precision-recall curves at the end.

Written on the training path, so that a killed run is resumed from a checkpoint that comes after its values.
"""

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from torch import nn

from tunny.core.console import say
from tunny.core.files import read_json
from tunny.core.settings import flat
from tunny.training.settings import TensorBoardSettings
from tunny.training.trackers.base import Evaluated, Tracker, Values

BINS = 64  # of a histogram


class TensorBoard(Tracker):
    """Writes what TensorBoard shows of a run into one folder."""

    aside: ClassVar[bool] = False

    def __init__(self, folder: Path, settings: TensorBoardSettings):
        self._folder, self._settings = folder, settings
        self._config: Mapping[str, Any] = {}
        self._writer: Any = None

    def start(self, config: Mapping[str, Any], step: int) -> None:
        """Open the writer; values beyond `step` that an earlier part or run left are hidden."""
        from torch.utils.tensorboard import SummaryWriter

        self._config = config
        self._writer = SummaryWriter(str(self._folder), purge_step=step + 1 if step else 0)
        if not step:
            self._writer.add_text("config", "```\n" + json.dumps(config, indent=2) + "\n```", 0)

    def log(self, values: Values, step: int) -> None:
        """Write every number as a scalar."""
        for name, value in values.items():
            if value is not None and name != "epoch":
                self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def weights(self, model: nn.Module, step: int) -> None:
        """Write a histogram of each weight that learns, and of its gradient."""
        for name, weight in model.named_parameters() if self._settings.histograms else ():
            for kind, tensor in (("weights", weight), ("gradients", weight.grad)):
                if tensor is not None and weight.requires_grad:
                    numbers = tensor.detach().float().cpu().numpy().ravel().astype(np.float64)
                    counts, ends = np.histogram(numbers, BINS)
                    span = numbers.min(), numbers.max(), numbers.size, numbers.sum(), np.square(numbers).sum()
                    self._writer.add_histogram_raw(f"{kind}/{name}", *span, ends[1:].tolist(), counts.tolist(), step)

    def evaluated(self, found: Mapping[str, Evaluated], step: int) -> None:
        """Write scores of the best model, with the settings that led to them, figures, and a curve for each label."""
        from torch.utils.tensorboard.summary import hparams

        drawing = importlib.util.find_spec("matplotlib") is not None
        if found and not drawing:
            say("track.tensorboard: figures are left out, as matplotlib is not installed")
        final: dict[str, float] = {}
        for name, one in found.items():
            content = read_json(one.folder / "metrics.json")
            final |= {f"final/{name}/{metric}": value for metric, value in content["metrics"].items() if value is not None}
            for title, figure in _figures(content) if drawing else ():
                self._writer.add_figure(f"{name}/{title}", figure, step, close=False)
            for label, (gold, scores) in one.curves.items():
                self._writer.add_pr_curve(f"{name}/{label}", gold, scores, step)
        settings = {name: value if isinstance(value, (bool, int, float)) else str(value) for name, value in flat(self._config)}
        for part in hparams(settings, final):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(part)
        self.log(final, step)

    def close(self, error: BaseException | None) -> None:
        """Flush and close."""
        if self._writer is not None:
            self._writer.close()


def _figures(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what `metrics.json` allows to draw, each with its name: TensorBoard shows no SVG, so the report's own plots do not do."""
    from matplotlib.figure import Figure

    def canvas(width: float, height: float, **axes: Any) -> Any:
        return Figure(figsize=(width, height), layout="constrained").add_subplot(**axes)

    if rows := content["per_label"]:
        axes = canvas(7, 1 + 0.3 * len(rows), xlim=(0, 1), xlabel="f1, with 95 % intervals")
        f1 = np.array([row["f1"] for row in rows.values()])
        ends = np.array([row["interval"] or [row["f1"]] * 2 for row in rows.values()])
        axes.barh(list(rows), f1, xerr=np.maximum((f1 - ends[:, 0], ends[:, 1] - f1), 0))
        axes.invert_yaxis()
        yield "labels", axes.figure
    if confusion := content.get("confusion"):
        names, counts = [name or "(none)" for name in confusion["names"]], np.array(confusion["counts"])
        axes = canvas(*[2 + 0.35 * len(names)] * 2, xlabel="predicted", ylabel="gold")
        axes.imshow(counts / np.maximum(counts.sum(1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1.4)
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(names)), names)
        for down, across in zip(*np.nonzero(counts), strict=True):
            axes.text(across, down, str(counts[down, across]), ha="center", va="center", fontsize=8)
        yield "confusion", axes.figure
    if calibration := content.get("calibration"):
        axes = canvas(5, 5, xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="share right")
        axes.plot([0, 1], [0, 1], "--", color="grey")
        for when in ("before", "after"):
            points = [(one["confidence"], one["right"]) for one in calibration[when]["bins"] if one["number"]]
            axes.plot(*zip(*points, strict=True), "o-", label=f"{when} calibration, error {calibration[when]['ece']:.4f}")
        axes.legend()
        yield "reliability", axes.figure
