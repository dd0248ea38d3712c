"""The settings of the `task`, `model` and `distill` sections."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

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


FACTS = "tunny.json"  # in a model folder, what there is to know of the model beside its weights


def is_own(kind: str) -> bool:
    """Say whether a kind of task is the name of a user's class, `package.module:Class`."""
    return ":" in kind


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


class LossSettings(Settings):
    """What a student is taught by; each loss times its weight, 0 leaves it out."""

    logits: float = Field(1.0, ge=0, description="weight of the difference from the teacher's answers")
    labels: float = Field(0.5, ge=0, description="weight of the task's own loss, on the labels of the data")
    hidden_states: float = Field(0.0, ge=0, description="weight of the difference of what layers give; needs the teacher's tokenizer")
    attentions: float = Field(0.0, ge=0, description="weight of the difference of what layers attend to; needs the teacher's tokenizer")

    @property
    def compare_layers(self) -> bool:
        """Whether a teacher's layers are looked into, and not only its answers."""
        return bool(self.hidden_states or self.attentions)


class DistillSettings(Settings):
    """A smaller model learns what a larger one answers."""

    teacher: str = Field(min_length=1, description="folder of a trained model of the same task, with the same labels")
    student: str | None = Field(None, description="embedded, a Hub id or a folder to start from; absent: the teacher")
    student_layers: list[Annotated[int, Field(ge=0)]] | None = Field(None, description="layers to keep of that model, counted from 0")
    student_width: int | None = Field(None, ge=1, description="numbers a token in its layers, fewer than that model has")
    losses: LossSettings = LossSettings()
    temperature: float = Field(2.0, gt=0, description="softens the answers that are compared; their loss is multiplied by its square")
    unlabelled: str | list[str] | None = Field(
        None, description="texts to learn the teacher's answers on, without labels: a path, a list, a glob"
    )

    @field_validator("student_layers")
    @classmethod
    def _rising(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and (not value or sorted(set(value)) != value):
            raise ValueError("expected layers in rising order, each once, such as [0, 2, 5]")
        return value

    @model_validator(mode="after")
    def _something_to_do(self) -> "DistillSettings":
        if self.student is None and self.student_layers is None and self.student_width is None:
            raise ValueError("the student would be the teacher: set distill.student_layers, distill.student_width or distill.student")
        if not any(self.losses.model_dump().values()):
            raise ValueError("every weight of distill.losses is 0: nothing would be learnt")
        return self
