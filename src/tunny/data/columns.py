"""Which column or key of a record holds what: as the settings say, else by usual names, else by place; always said.

The usual names are those of Hugging Face's example scripts and data sets, of GLUE, PyMarlin, spaCy, Prodigy, Doccano and GLiNER.
"""

from collections.abc import Callable, Mapping, Sequence

from tunny.core.errors import DataError, did_you_mean
from tunny.data.source import GOLD, Source

Key = str | int
Columns = dict[str, Key]  # what -> its key, where there is such a thing; spans beside tokens number these, as GLiNER's do
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
_SAID = (
    "id", "text", "text_b", "tokens", "tags", "label", "spans", "language", "document", "meta", "words", "answer", "relations",
)  # fmt: skip
_NAMED = ("id", "text", "text_b", "tokens", "tags", "label", "group_by")  # settings that name a column


def find_columns(source: Source, keys: Sequence[Key]) -> Columns:
    """Choose the columns; raise DataError where none fits."""
    wanted, file = source.settings, source.path.name
    listed, lower = [str(key) for key in keys], {str(key).lower(): key for key in keys}
    gold = f" {GOLD[source.for_tokens]}" * source.kind_is_told
    for setting in _NAMED if source.labels_needed else ("text", "text_b"):
        named = getattr(wanted, setting)
        if named is not None and named not in keys:
            near = did_you_mean(str(named), listed)
            advice = f" Name one in data.{setting}.{gold * (setting in ('label', 'tags'))}"
            raise DataError(f"{file}: no column {named!r} (data.{setting}); there are: {', '.join(listed)}{near or '.'}{advice}")

    def pick(setting: str, *usual: str) -> Key | None:
        named = getattr(wanted, setting) if setting else None
        return next((lower[name] for name in usual if name in lower), None) if named is None else named if named in keys else None

    found = {
        "id": pick("id", "id"), "text": pick("text", *_TEXT), "language": pick("", "lang", "language") if wanted.language else None,
        "document": pick("group_by", "doc_id", "document_id"), "meta": pick("", "meta"), "relations": pick("", "relations"),
        "answer": None if "answer" in (wanted.label, wanted.text) else pick("", "answer"),  # Prodigy's verdict on a record
    }  # fmt: skip
    if not source.for_tokens:
        found |= {"label": pick("label", *_LABEL[source.kind]), "text_b": pick("text_b", *(_TEXT_B if wanted.text is None else ()))}
    else:
        found |= _for_tokens(source, lower, pick)
    columns: Columns = {name: key for name, key in found.items() if key is not None}
    nothing = columns.keys().isdisjoint(("text", "tokens")) and wanted.text is None and wanted.tokens is None
    free = [key for key in keys if key not in columns.values()]
    answered = not columns.keys().isdisjoint(("tags", "spans", "label"))
    if nothing and source.kind_is_told and source.for_tokens and not answered and len(free) > 1 and source.labels_needed:
        source.audit.note(f"{file}: no usual names, so the first column is taken as tokens, the second as tags")
        columns |= {"tokens": free[0], "tags": free[1]}  # as Hugging Face's scripts do
    elif nothing and len(free) == 1:
        columns["text"] = free[0]  # the only column left can be nothing else; among several none is guessed
    needed = [("for the text", {"text", "tokens"}, " Set data.text or data.tokens.")]
    needed += [("lang or language for data.language", {"language"}, "")] if wanted.language is not None else []
    if source.labels_needed:
        tagged = ("for tags or spans", {"tags", "spans"}, f" Set data.tags or data.label.{gold}")
        needed.append(tagged if source.for_tokens else ("for the label", {"label"}, f" Set data.label.{gold}"))
    for what, names, advice in needed:
        if columns.keys().isdisjoint(names):
            raise DataError(f"{file}: no column {what}; there are: {', '.join(listed)}.{advice}")
    columns = {name: columns[name] for name in _SAID if name in columns}
    others = ", ".join(str(key) for key in keys if key not in columns.values())
    said = ", ".join(f"{name} = {key}" for name, key in columns.items())
    source.audit.note(f"{file}: columns {said}" + (f"; not used: {others}" if others else ""))
    return columns


def _for_tokens(source: Source, lower: Mapping[str, Key], pick: Callable[..., Key | None]) -> dict[str, Key | None]:
    """Return what tells words, tags and spans; of a text beside tokens that have tags the tokens are taken."""
    wanted, kind = source.settings, source.kind
    if {"text", "words", "tags"} <= set(lower) and wanted.tokens is None:  # as predictions of pos are
        return {"words": pick("", "words"), "tags": pick("tags", "tags")}
    usual = () if wanted.text is not None else ("sentence",) if {"sentence", "slot"} <= set(lower) else _TOKENS
    tokens, tags = pick("tokens", *usual), pick("tags", f"{kind}_tags", "tags", "labels", kind, "slot", "tag")
    if tokens is None:
        return {"spans": None if kind == "pos" else pick("label", *_SPANS)}  # a part of speech is a word's
    if tokens == lower.get("tokenized_text") and wanted.tags is None:
        return {"tokens": tokens, "spans": pick("label", "ner"), "text": None}
    if tags is not None or pick("text", *_TEXT) is None:
        return {"tokens": tokens, "tags": tags, "text": None}
    return {"spans": pick("label", *_SPANS), "words": tokens}  # Prodigy's tokens say where the words are
