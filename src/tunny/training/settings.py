"""The settings of the `train`, `checkpoint` and `track` sections."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from tunny.core.settings import Settings


class TrainSettings(Settings):
    """How weights are learnt."""

    epochs: int = Field(3, ge=1, description="passes over the training data")
    max_steps: int | None = Field(None, ge=1, description="optimizer steps in all; takes the place of epochs")
    batch_size: int = Field(
        16, ge=1, description="rows of one optimizer step over all devices; a row is an example or a window of a long one"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens of one optimizer step, padding not counted; takes the place of batch_size"
    )
    learning_rate: float = Field(5e-5, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, description="of matrices and embeddings; biases and norms have none")
    warmup_ratio: float = Field(0.1, ge=0, le=1, description="share of the steps in which the learning rate rises from 0")
    warmup_steps: int | None = Field(None, ge=0, description="the same as a number of steps; takes the place of warmup_ratio")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="course of the learning rate after the warm-up")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor on the learning rate for each layer further from the head")
    max_grad_norm: float = Field(1.0, ge=0, description="gradients are clipped to this norm; 0: not at all")
    early_stopping_patience: int | None = Field(None, ge=1, description="validations without a better score before training stops")
    evaluate_every_steps: int | None = Field(None, ge=1, description="optimizer steps between validations, beside those at epoch ends")
    metric_for_best: str | None = Field(None, description="metric that chooses the best model; absent: the task's own")
    log_every_steps: int = Field(10, ge=1, description="optimizer steps between two lines of the log")
    seeds: list[Annotated[int, Field(ge=0, le=2**63 - 1)]] | None = Field(
        None, description="one training for each, in output_dir/seed-N/; seed then only deals data.split"
    )

    @field_validator("seeds")
    @classmethod
    def _each_once(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (not value or len(set(value)) < len(value)):
            raise ValueError("expected one seed or more, each once, such as [1, 2, 3]; null for a single training")
        return value


class CheckpointSettings(Settings):
    """When the state is saved, and how much of it is kept."""

    every_steps: int | None = Field(
        None, ge=1, description="optimizer steps between checkpoints, beside those at epoch ends and validations"
    )
    keep_last: int = Field(2, ge=1, description="newest checkpoints to keep; the best model is kept in any case")
    push: str | None = Field(None, description="OWNER/NAME on the Hub, private, that gets each new best model; absent: nothing is sent")


class TensorBoardSettings(Settings):
    """TensorBoard event files in the run folder's `tensorboard/`; nothing is to be set."""


class TrackSettings(Settings):
    """Where values go beside log.jsonl."""

    tensorboard: TensorBoardSettings | None = Field(None, description="write TensorBoard event files")
