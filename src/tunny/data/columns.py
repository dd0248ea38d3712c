"""Which column or key of a record holds what: as the settings say, else by usual names, else by place; always said.

The usual names are those of Hugging Face's example scripts and data sets, of GLUE, PyMarlin, spaCy, Prodigy, Doccano and GLiNER.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tunny.core.errors import DataError, did_you_mean
from tunny.data.source import Source

Key = str | int
_TOKENS = ("tokens", "words", "token", "tokenized_text")
_TEXT = ("text", "sentence", "content", "document", "body", "sentence1", "premise", "question1", "question", "text_a")
_TEXT_B = ("text_b", "sentence2", "hypothesis", "question2")
TEXTS = frozenset((*_TOKENS, *_TEXT))  # what makes an object a record
_LABEL = {
    "classify": ("label", "labels", "class", "category", "sentiment", "cats", "accept"),
    "multilabel": ("labels", "label", "classes", "categories", "cats", "accept"),
    "regress": ("score", "label", "value", "rating"),
}
_SPANS = ("spans", "entities", "ents", "label", "labels")
_OTHERS = (
    "id", "lang", "language", "doc_id", "document_id", "meta", "answer", "relations", "tags", "ner", "ner_tags", "pos_tags", "chunk_tags",
)  # fmt: skip
USUAL = frozenset((*_TOKENS, *_TEXT, *_TEXT_B, *_SPANS, *_OTHERS, *(name for names in _LABEL.values() for name in names)))


@dataclass(frozen=True)
class Columns:
    """Which key of a record holds what; None where there is no such thing."""

    id: Key | None = None
    text: Key | None = None
    text_b: Key | None = None
    tokens: Key | None = None
    tags: Key | None = None
    label: Key | None = None
    spans: Key | None = None  # beside tokens: these number tokens, as GLiNER's do
    language: Key | None = None
    document: Key | None = None
    meta: Key | None = None
    words: Key | None = None  # character ranges
    answer: Key | None = None  # Prodigy's verdict on a record
    relations: Key | None = None  # Doccano's


def find_columns(source: Source, keys: Sequence[Key]) -> Columns:
    """Choose the columns; raise DataError where none fits."""
    _check_named(source, keys)
    wanted = source.settings
    lower = {str(key).lower(): key for key in keys}

    def pick(named: Key | None, *candidates: str) -> Key | None:
        if named is not None:
            return named if named in keys else None
        return next((lower[name] for name in candidates if name in lower), None)

    columns = Columns(
        id=pick(wanted.id, "id"), language=pick(None, "lang", "language") if wanted.language else None,
        document=pick(wanted.group_by, "doc_id", "document_id"), meta=pick(None, "meta"),
        answer=None if "answer" in (wanted.label, wanted.text) else pick(None, "answer"),
        relations=pick(None, "relations"), text=pick(wanted.text, *_TEXT),
    )  # fmt: skip
    if source.for_tokens:
        columns = _for_tokens(source, columns, lower, pick)
    else:
        text_b = pick(wanted.text_b, *(() if wanted.text is not None else _TEXT_B))
        columns = replace(columns, label=pick(wanted.label, *_LABEL[source.kind]), text_b=text_b)
    columns = _by_place(source, columns, keys)
    _require(source, columns, keys)
    taken = {name: key for name, key in vars(columns).items() if key is not None}
    others = [str(key) for key in keys if key not in taken.values()]
    source.audit.note(
        f"{source.path.name}: columns {', '.join(f'{name} = {key}' for name, key in taken.items())}"
        + (f"; not used: {', '.join(others)}" if others else "")
    )
    return columns


def _check_named(source: Source, keys: Sequence[Key]) -> None:
    for setting in ("id", "text", "text_b", "tokens", "tags", "label", "group_by"):
        named = getattr(source.settings, setting)
        if named is not None and named not in keys and (source.labels_needed or setting in {"text", "text_b"}):
            listed = [str(key) for key in keys]
            raise DataError(
                f"{source.path.name}: no column {named!r} (data.{setting}); there are: {', '.join(listed)}{did_you_mean(str(named), listed)}"
            )


def _for_tokens(source: Source, columns: Columns, lower: dict[str, Key], pick: Callable[..., Key | None]) -> Columns:
    wanted, kind = source.settings, source.kind
    if {"text", "words", "tags"} <= set(lower) and wanted.tokens is None:  # as predictions of pos are
        return replace(columns, words=pick(None, "words"), tags=pick(wanted.tags, "tags"))
    tokens = None
    if wanted.text is None or wanted.tokens is not None:
        tokens = pick(wanted.tokens, *(("sentence",) if {"sentence", "slot"} <= set(lower) else _TOKENS))
    if tokens is None:
        return replace(columns, spans=None if kind == "pos" else pick(wanted.label, *_SPANS))  # a part of speech is a word's
    if tokens == lower.get("tokenized_text") and wanted.tags is None:
        return replace(columns, tokens=tokens, spans=pick(wanted.label, "ner"), text=None)
    tags = pick(wanted.tags, f"{kind}_tags", "tags", "labels", kind, "slot", "tag")
    if tags is not None or columns.text is None:
        return replace(columns, tokens=tokens, tags=tags, text=None)
    return replace(columns, spans=pick(wanted.label, *_SPANS), words=tokens)  # Prodigy's tokens say where the words are


def _by_place(source: Source, columns: Columns, keys: Sequence[Key]) -> Columns:
    """Take what no name tells by its place, as Hugging Face's scripts do, and say so."""
    free = [key for key in keys if key not in vars(columns).values()]
    labels = columns.tags is not None or columns.spans is not None or columns.label is not None
    nothing = columns.text is None and columns.tokens is None and source.settings.text is None and source.settings.tokens is None
    if nothing and source.by_place and source.for_tokens and not labels and len(free) > 1 and source.labels_needed:
        source.audit.note(f"{source.path.name}: no usual names, so the first column is taken as tokens, the second as tags")
        return replace(columns, tokens=free[0], tags=free[1])
    if nothing and len(free) == 1:
        return replace(columns, text=free[0])  # the only column left can be nothing else; among several none is guessed
    return columns


def _require(source: Source, columns: Columns, keys: Sequence[Key]) -> None:
    listed = ", ".join(str(key) for key in keys)
    if columns.text is None and columns.tokens is None:
        raise DataError(f"{source.path.name}: no column for the text; there are: {listed}. Set data.text or data.tokens.")
    if source.settings.language is not None and columns.language is None:
        raise DataError(f"{source.path.name}: no column lang or language for data.language; there are: {listed}.")
    if not source.labels_needed:
        return
    if source.for_tokens and columns.tags is None and columns.spans is None:
        raise DataError(f"{source.path.name}: no column for tags or spans; there are: {listed}. Set data.tags or data.label.")
    if not source.for_tokens and columns.label is None:
        raise DataError(f"{source.path.name}: no column for the label; there are: {listed}. Set data.label.")
