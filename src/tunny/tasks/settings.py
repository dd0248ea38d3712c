"""The settings of the `task` and `model` sections."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tunny.core.settings import Settings

ClassWeights = dict[str, float] | Literal["balanced"] | None
_WEIGHTS = "weight of each label in the loss: a mapping of names, or balanced (by the inverse of how often it occurs in training)"
_SAMPLE = "0: every row once an epoch; above 0: rows are drawn, rare labels more often, by frequency to the power of minus this"


class TokenTaskSettings(Settings):
    """Labelling tokens: entities, parts of speech, chunks."""

    kind: Literal["ner", "pos", "chunk"] = Field(description="what is learnt: ner, pos, chunk, classify, multilabel or regress")
    class_weights: ClassWeights = Field(None, description=_WEIGHTS)
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="share of the target spread over all labels")
    sample_by_label: float = Field(0.0, ge=0.0, le=1.0, description=_SAMPLE)


class SequenceTaskSettings(Settings):
    """Labelling whole texts or pairs of texts."""

    kind: Literal["classify", "multilabel", "regress"] = Field(description="what is learnt: classify, multilabel or regress")
    class_weights: ClassWeights = Field(None, description=_WEIGHTS)
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="share of the target spread over all labels")
    sample_by_label: float = Field(0.0, ge=0.0, le=1.0, description=_SAMPLE)
    threshold: Annotated[float, Field(gt=0.0, lt=1.0)] | Literal["tuned"] = Field(
        0.5, description="multilabel: the probability from which a label is given; tuned: of each label the best on validation data"
    )

    @model_validator(mode="after")
    def _scores_have_no_labels(self) -> "SequenceTaskSettings":
        if self.kind == "regress" and (self.class_weights or self.label_smoothing or self.sample_by_label):
            raise ValueError("regress has no labels: class_weights, label_smoothing and sample_by_label do not apply")
        return self


TaskSettings = Annotated[TokenTaskSettings | SequenceTaskSettings, Field(discriminator="kind")]


class ModelSettings(Settings):
    """The encoder to start from."""

    name: str = Field(
        "embedded", min_length=1, description="embedded (all-MiniLM-L6-v2), a Hub id (OWNER/NAME[@REVISION]), or a local folder"
    )
    revision: str | None = Field(None, description="branch, tag or commit of a Hub model")
    tokenizer: str | None = Field(None, description="Hub id or folder of another tokenizer; absent: the model's own")
    new_head: bool = Field(True, description="replace a head that does not fit the labels, and say so; false: refuse")
    freeze_embeddings: bool = Field(False, description="keep the embeddings as they are")
    freeze_layers: int = Field(0, ge=0, description="keep this many layers, counted from the input, as they are")
