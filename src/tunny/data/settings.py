"""The settings of the `data` and `encode` sections."""

import glob
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tunny.core.errors import ConfigError, did_you_mean
from tunny.core.settings import Settings

Kind = Literal["ner", "pos", "chunk", "classify", "multilabel", "regress"]
TOKEN_KINDS = ("ner", "pos", "chunk")
Most = Annotated[int, Field(ge=1)]
Paths = str | list[str] | None
Column = str | Annotated[int, Field(ge=0)] | None
UNLABELLED = "unlabelled"  # the split of texts that a teacher labels
LEARNT = ("train", UNLABELLED)  # the splits that are not scored
FORMATS = ("conll", "conllu", "jsonl", "json", "csv", "tsv", "parquet", "label-studio", "spans", "text", "hub")
GLUE = ("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI", "QNLI", "RTE", "WNLI")


class SplitSettings(Settings):
    """Parts of the training data to set aside, by document."""

    validation: float = Field(0.0, ge=0, lt=1, description="share of the training documents that validate")
    test: float = Field(0.0, ge=0, lt=1, description="share of the training documents that test")
    seed: int | None = Field(None, ge=0, description="by which documents are dealt; absent: the seed at the top")

    @model_validator(mode="after")
    def _some_are_left(self) -> "SplitSettings":
        if not 0 < self.validation + self.test < 1:
            raise ValueError("validation and test together must be more than 0 and less than 1, for the rest is trained on")
        return self


class DataSettings(Settings):
    """Where the labelled text is and how to read it."""

    train: Paths = Field(None, description="training data: a path, a folder, a list, a glob, or hub:OWNER/NAME[:CONFIG][@REVISION][#SPLIT]")
    validation: str | list[str] | dict[str, str] | None = Field(
        None, description="validation data, which chooses the best model; also a mapping of names to paths"
    )
    test: Paths = Field(None, description="test data, scored once with the best model")
    split: SplitSettings | None = Field(None, description="take validation and test data by document from the training data")
    format: str = Field("auto", description="file format, or glue:TASK; auto: by content first and by the ending second")
    text: Column = Field(None, description="column or key of the text (of tokens joined by spaces: see tokens)")
    text_b: Column = Field(None, description="column or key of the second text of a pair")
    label: Column = Field(None, description="column or key of the label, the labels or the score")
    tokens: Column = Field(None, description="column or key of the tokens")
    tags: Column = Field(None, description="column or key of the tags, one a token")
    id: Column = Field(None, description="column or key that identifies an example; absent: file name and line")
    group_by: Column = Field(None, description="column or key of the document, whose examples stay together in splits")
    language: str | None = Field(None, description="keep only rows whose column lang or language says this")
    header: bool = Field(True, description="csv, tsv: the first row names the columns; false: columns are numbers from 0")
    delimiter: str | None = Field(None, description="csv, tsv, conll: what separates columns; absent: found by looking")
    quoting: Literal["auto", "csv", "none"] = Field(
        "auto", description="csv, tsv: whether double quotes enclose cells; auto: csv, but for tsv only if every quote is well-formed"
    )
    encoding: str = Field("auto", description="text encoding of the files; auto: found, and said where it is not UTF-8")
    labels: list[str] | dict[str, int] | str | None = Field(
        None, description="label names in id order: a list, a mapping of name to id, or a file with one a line"
    )
    keep_labels: list[str] | None = Field(None, description="only these labels; spans of others become O, rows of others are left out")
    label_separator: str = Field(",", min_length=1, description="multilabel: what separates labels in one cell")
    overlaps: Literal["longest", "first", "stop"] = Field(
        "longest", description="which of two overlapping spans is kept; every case is counted and listed"
    )
    control: str | None = Field(None, description="Label Studio: name of the control (from_name) that holds the labels")
    annotators: Literal["first", "latest", "ground_truth", "majority", "each"] = Field(
        "latest", description="Label Studio: which annotation of several is used, or each as an example"
    )
    on_error: Literal["stop", "quarantine"] = Field(
        "stop", description="what a bad row does: stop the command, or be left out, counted and listed"
    )
    max_examples: Most | dict[Literal["train", "validation", "test"], Most] | None = Field(
        None, description="most examples of each split, from its start; also a mapping of splits to numbers"
    )

    def most_of(self, part: str) -> int | None:
        """Return the most examples of train, validation or test."""
        most: Any = self.max_examples
        return most.get(part) if isinstance(most, dict) else most

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        if value == "auto":
            return value
        try:
            "".encode(value)  # hex and its like are codecs, but not of text
        except LookupError:
            raise ValueError(f"no encoding is called {value!r}; for example utf-8, utf-16, cp1252 or latin-1") from None
        return value

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        task = next((name for name in GLUE if value.lower() == f"glue:{name.lower()}"), None)
        if task is not None:
            return f"glue:{task}"
        known = ["auto", *FORMATS, *(f"glue:{name}" for name in GLUE)]
        if value not in known:
            raise ValueError(f"expected one of {', '.join(known)}{did_you_mean(value, known)}")
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        value = None if value is None else value.replace("\\t", "\t")
        if value is not None and len(value) != 1:
            raise ValueError("expected one character, or \\t for a tab")
        return value

    @model_validator(mode="after")
    def _one_way_to_split(self) -> "DataSettings":
        for name in ("validation", "test"):
            if self.split is not None and getattr(self.split, name) and getattr(self, name) is not None:
                raise ValueError(f"data.{name} names files and data.split.{name} takes a share of the training data: give one of the two")
        return self

    @field_validator("validation")
    @classmethod
    def _names(cls, value: object) -> object:
        if isinstance(value, dict):
            bad = [name for name in value if not name.replace("-", "").replace("_", "").isalnum()]
            if bad or not value:
                raise ValueError("names of validation sets are letters, digits, - and _")
            if {"train", "throughput"} & set(value):
                raise ValueError("train and throughput are names in the log already; name the validation set otherwise")
        return value


class EncodeSettings(Settings):
    """How text becomes tokens and windows."""

    max_tokens: int = Field(256, ge=8, description="tokens of a window, special tokens included; longer texts become windows")
    stride: int = Field(64, ge=0, description="tokens that neighbouring windows of one text share")
    prefix_space: bool = Field(False, description="byte-level tokenizers: encode the first word as one behind a space, as all others are")
    label_all_pieces: bool = Field(False, description="continuation pieces of a word learn its tag too, B- as I-; they are never scored")

    @model_validator(mode="after")
    def _windows_advance(self) -> "EncodeSettings":
        if self.stride > self.max_tokens // 2:
            raise ValueError(f"stride must be at most half of max_tokens ({self.max_tokens // 2})")
        return self


def split_paths(value: str | list[str] | dict[str, str] | None) -> dict[str, list[str]]:
    """Return the named file lists of one split setting; an unnamed one has the name ''."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return {name: [path] for name, path in value.items()}
    return {"": [value] if isinstance(value, str) else list(value)}


def resolve_path(path: str, beside: Path | None, named_by: str | None = None) -> str:
    """Return a path as it is, `~` expanded, or taken from the config's folder where only that exists.

    `named_by` is the setting, if the config itself gives it: raises ConfigError where the two places hold different files of that name.
    """
    path = os.path.expanduser(path)
    if beside is None or os.path.isabs(path):
        return path
    near = os.path.join(beside, path)
    here, there = ({os.path.realpath(file) for file in glob.glob(pattern)} for pattern in (path, near))
    if named_by and here and there and here != there:
        both = f"{os.path.abspath(path)} (from the current folder) or {os.path.abspath(near)} (from the config's)"
        raise ConfigError(f"{named_by}: {path!r} may be {both}, which are not the same. Write the path that is meant in full.")
    return near if there and not here else path
