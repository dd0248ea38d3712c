"""The numbers a resumed run must know, and nothing else: random state is a function of seed, step and micro-batch."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Window:
    """What has been seen since the last log point."""

    loss: float = 0.0  # sum over targets
    targets: float = 0.0
    examples: int = 0
    tokens: int = 0
    slots: int = 0  # tokens with padding
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Where training stands after `step` optimizer steps."""

    step: int = 0
    epoch: int = 0  # whole epochs done
    step_in_epoch: int = 0
    best: float | None = None  # the deciding metric of the best model, as reported
    best_step: int | None = None
    validations_without_gain: int = 0
    micro_batch_limit: int | None = None  # after memory ran out; None: as the settings say
    loss_scale: float | None = None  # fp16 only
    seconds: float = 0.0  # of training, over all parts of a resumed run
    window: Window = field(default_factory=Window)
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the form that is saved."""
        return asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Progress":
        """Read what `to_json` gave."""
        return cls(**{**saved, "window": Window(**saved["window"])})
