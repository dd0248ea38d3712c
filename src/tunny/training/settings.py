"""The settings of the `train`, `checkpoint` and `track` sections."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

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
    callbacks: tuple[str | dict[str, dict[str, Any] | None], ...] = Field(
        (), description="callbacks of one's own: `package.module:Class`, or that with its options below it"
    )
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
    """TensorBoard event files in the run folder's `tensorboard/`."""

    histograms: bool = Field(False, description="histograms of weights and gradients at epoch ends; takes time and space")


class MLflowSettings(Settings):
    """A run on an MLflow server; what is absent here comes from the environment or `.env`."""

    uri: str | None = Field(None, description="address of the server; absent: MLFLOW_TRACKING_URI or AZURE_MLFLOW_TRACKING_URI")
    experiment: str | None = Field(None, description="name of the experiment; absent: MLFLOW_EXPERIMENT_NAME, or else tunny")
    run: str | None = Field(
        None, description="id of a run to write into, or below where it holds another training; absent: MLFLOW_RUN_ID, or else a new one"
    )
    weights: bool | None = Field(None, description="send the model too; absent: as HF_MLFLOW_LOG_ARTIFACTS says, or else not")
    register_as: str | None = Field(None, description="name under which the model is registered; it is sent then")
    wait_seconds: float = Field(60.0, gt=0, description="at the end of a run, for what is not sent yet; --resume sends the rest")


class SystemSettings(Settings):
    """Figures of the machine in log.jsonl and in every tracker."""

    every_seconds: float = Field(10.0, gt=0, description="between two samples; a log point takes the newest")


def _is_own(name: str) -> str:
    if not re.fullmatch(r"[\w.]+:\w+", name):
        raise PydanticCustomError("extra_forbidden", "unknown tracker")
    return name


class TrackSettings(Settings):
    """Where values go beside log.jsonl. A tracker of one's own is named `package.module:Class`; what stands below are its options."""

    model_config = ConfigDict(
        extra="allow", json_schema_extra={"additionalProperties": False, "patternProperties": {":": {"type": ["object", "null"]}}}
    )
    __pydantic_extra__: dict[Annotated[str, AfterValidator(_is_own)], dict[str, Any] | None]

    tensorboard: TensorBoardSettings | None = Field(None, description="write TensorBoard event files")
    mlflow: MLflowSettings | None = Field(None, description="send to an MLflow server")
    azureml: MLflowSettings | None = Field(None, description="the same with Azure ML's package, in its jobs or from outside")
    system: SystemSettings | None = Field(None, description="sample processor, memory and GPU")
