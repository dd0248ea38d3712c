"""Tasks, windows and examples made by hand, for the tests of this room."""

from collections.abc import Sequence

from tunny.data.audit import Audit
from tunny.data.encode import Encoder
from tunny.data.example import Example
from tunny.data.inputs import Padding
from tunny.data.labels import LabelSet
from tunny.data.settings import EncodeSettings
from tunny.data.store import Window, WindowColumns
from tunny.tasks.sequence import SequenceTask
from tunny.tasks.settings import SequenceTaskSettings, TokenTaskSettings
from tunny.tasks.token import TokenTask

PADDING = Padding(0, True)
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
TEXTS = ("Herring and cod were sold", "Nobody knows why", "The wind from the north left in 1954")
CLASSES = ("sea", "land", "trade")


def token_task(kind: str = "ner", names: Sequence[str] = TAGS, **settings: object) -> TokenTask:
    return TokenTask(TokenTaskSettings(kind=kind, **settings), LabelSet(kind, tuple(names)), PADDING)


def sequence_task(kind: str, names: Sequence[str], **settings: object) -> SequenceTask:
    return SequenceTask(SequenceTaskSettings(kind=kind, **settings), LabelSet(kind, tuple(names)), PADDING)


def windows_of(task, tokenizer, examples: Sequence[Example], max_tokens: int = 64, stride: int = 16) -> list[Window]:
    columns = columns_of(task, tokenizer, examples, max_tokens, stride)
    return [columns[at] for at in range(len(columns))]


def columns_of(task, tokenizer, examples: Sequence[Example], max_tokens: int = 64, stride: int = 16) -> WindowColumns:
    encoder = Encoder(tokenizer.backend_tokenizer, EncodeSettings(max_tokens=max_tokens, stride=stride))
    return encoder.encode(examples, task.labels, Audit())


def labelled(*labels: str | tuple[str, ...]) -> list[Example]:
    return [
        Example(str(at), text, labels=(label,) if isinstance(label, str) else label)
        for at, (text, label) in enumerate(zip(TEXTS, labels, strict=True))
    ]


def valued(*scores: float) -> list[Example]:
    return [Example(str(at), text, score=score) for at, (text, score) in enumerate(zip(TEXTS, scores, strict=True))]
