"""Label Studio's exports: which annotation of a task becomes its example, and an account of all that is left out.

Of the annotations that were not cancelled `data.annotators` chooses; one without results is a text labelled with nothing (for one
class or a score: unlabelled). Drafts and predictions are never labels.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from tunny.core.errors import DataError, did_you_mean
from tunny.data.agreement import Agreement
from tunny.data.cells import shown
from tunny.data.example import Example, Row
from tunny.data.readers.label_studio_shapes import KNOWN_KEYS, Answer, Unused, plain, tasks
from tunny.data.source import Source

_ADDRESS = re.compile(r"([\w+.-]+:/)?/\S+")  # of an image or a sound, which are no texts


def read(source: Source) -> Iterator[Example]:
    """Yield one example a task that has an annotation, or one an annotation."""
    if source.kind == "pos" and source.labels_needed:
        raise DataError(f"{source.path.name}: Label Studio marks spans, and pos needs a tag for every word. Set task: ner or chunk.")
    reader = _Reader(source)
    for task in tasks(source):
        if task.line:
            yield from reader.read(task)
        elif task.problem:
            source.refuse(task.line, task.problem, task.at)
    control = source.settings.control
    if control is not None and len(reader.ids) > 1 and reader.controls and control not in reader.controls:
        known = f"there are: {', '.join(sorted(reader.controls))}{did_you_mean(control, reader.controls)}"
        raise DataError(f"{source.path.name}: no control {control!r} (data.control); {known}")
    if reader.agreement.tasks:
        source.audit.note(f"{source.path.name}: {reader.agreement.note()}")


class _Reader:
    """What is known of a file while its tasks pass."""

    def __init__(self, source: Source):
        self.source, self.audit, self.wanted = source, source.audit, source.settings
        self.agreement = Agreement(source.kind)
        self.controls: set[str] = set()
        self.ids: set[int | str] = set()

    def read(self, task: Row) -> Iterator[Example]:
        """Yield the examples of a task and account for it; a task is left out for the reason that its example is."""
        number = "" if task.problem else plain(task.value.get("id"))
        at = f"task {number[:60]}" if number else task.line
        if at in self.ids:
            self.audit.event("task ids twice", self.source.where(at), "all of them are kept")
        self.ids.add(at)
        self.audit.take("tasks")
        dropped = self.audit.flow("examples").dropped
        before, given = Counter(dropped), 0
        for given, example in enumerate(self._guarded(task.line, at, self._examples(task, at)), 1):
            self.audit.give("tasks", given == 1)
            yield example
        if not given:
            self.audit.flow("tasks").dropped[next(iter(dropped - before))] += 1

    def _guarded(self, place: int, at: int | str, found: Iterator[Example]) -> Iterator[Example]:
        """Yield what there is; account for the example that is not there for the reason raised."""
        try:
            yield from found
        except Unused as why:
            self.audit.take("examples")
            self.audit.drop("examples", why.args[0], self.source.where(at), why.args[1])
        except ValueError as error:
            self.source.refuse(place, str(error), at)

    def _examples(self, task: Row, at: int | str) -> Iterator[Example]:
        if task.problem:
            raise ValueError(task.problem)
        source, where = self.source, self.source.where(at)
        usable = self._usable(task, where) if source.labels_needed else []
        try:
            blank = self._blank(task, usable)
            answers = [Answer(source, one, blank.text, number) for number, one in enumerate(usable, 1)]
            groups = self._groups(answers)
        except (ValueError, Unused):
            self._leave("annotations of tasks left out", where, usable)
            raise
        self.controls.update(name for answer in answers for name in answer.controls if name)
        if self.wanted.control is None and len(self.controls) > 1:
            known = ", ".join(sorted(self.controls))
            raise DataError(f"{source.path.name}: several controls for {source.kind}: {known}. Set data.control to one of them.")
        self.agreement.add({answer.annotator: answer.values for answer in answers if not answer.bad})
        used = {id(answer) for group in groups for answer in group}
        self._leave("annotations not chosen", where, [answer.annotation for answer in answers if id(answer) not in used])
        if not source.labels_needed:
            yield from source.accept(task.line, blank, at)
        for group in groups:
            name = f"{blank.id}#{group[0].name}" if self.wanted.annotators == "each" else blank.id
            yield from self._guarded(task.line, at, self._labelled(task.line, at, replace(blank, id=name), group))

    def _usable(self, task: Row, where: str) -> list[dict[str, Any]]:
        """Return the annotations that were not cancelled; account for the others, for drafts and predictions."""
        found = task.value.get("annotations") or task.value.get("completions") or []
        if not isinstance(found, list) or not all(isinstance(one, dict) and isinstance(one.get("result") or [], list) for one in found):
            raise ValueError("expected annotations as a list of objects, each with a list result")
        for kind in ("drafts", "predictions"):
            if isinstance(held := task.value.get(kind), list) and held:
                self.audit.event(f"{kind} not used", where, f"{len(held)}", len(held))
        self._leave("annotations cancelled", where, [one for one in found if one.get("was_cancelled") or one.get("skipped")])
        return [one for one in found if not one.get("was_cancelled") and not one.get("skipped")]

    def _blank(self, task: Row, usable: Sequence[Any]) -> Example:
        """Return the example of a task without its labels."""
        wanted, data = self.wanted, task.value["data"]
        language = data.get("lang", data.get("language"))
        if wanted.language not in (None, language):
            raise Unused("other languages", shown(language))
        if self.source.labels_needed and not usable:
            raise Unused("unlabelled", "no annotation that was not cancelled; left out")
        keys = {"text": wanted.text or "text", "text_b": wanted.text_b, "id": wanted.id, "group_by": wanted.group_by}
        if wanted.text is None and "text" not in data:
            free = {key: value for key, value in data.items() if isinstance(value, str) and key not in {*KNOWN_KEYS, *keys.values()}}
            texts = [key for key, value in free.items() if not _ADDRESS.fullmatch(value)]
            if len(texts) > 1:
                raise ValueError(f"expected one text in data, found {', '.join(texts)[:200]}. Set data.text")
            keys["text"] = texts[0] if texts else "text"
        for setting, key in keys.items():
            if key is not None and not isinstance(data.get(key), str if setting.startswith("text") else (str, int)):
                there = ", ".join(data)[:200]
                raise ValueError(f"expected a text as {key} in data, found {shown(data.get(key))}; there are: {there}. Set data.{setting}")
        number = task.value.get("id") if plain(task.value.get("id")) else None
        known = map(data.get, (wanted.id, *KNOWN_KEYS[:4]))
        name = next(filter(None, map(plain, (*known, number, self.source.where(task.line)))))
        document = name if wanted.group_by is None else str(data[wanted.group_by])
        others = {key: value for key, value in data.items() if key not in (keys["text"], keys["text_b"])}
        meta = {"task": number, "text": keys["text"], "data": others}
        return Example(name, data[keys["text"]], text_b=data.get(wanted.text_b), document=document, meta=meta)

    def _groups(self, answers: Sequence[Answer]) -> list[list[Answer]]:
        """Return the annotations that `data.annotators` chooses, those of one example together."""
        rule = self.wanted.annotators
        if rule == "each" or not answers:
            return [[answer] for answer in answers]
        if rule == "first":
            return [[min(answers, key=lambda answer: plain(answer.annotation.get("created_at")))]]
        latest = sorted(answers, key=lambda answer: plain(answer.annotation.get("updated_at") or answer.annotation.get("created_at")))
        if rule == "majority":
            return [list({answer.annotator: answer for answer in latest}.values())]  # one vote each
        chosen = [answer for answer in latest if rule == "latest" or answer.annotation.get("ground_truth") is True]
        if not chosen:
            raise Unused("no ground truth", "no annotation is flagged as ground truth")
        return [chosen[-1:]]

    def _labelled(self, place: int, at: int | str, example: Example, group: Sequence[Answer]) -> Iterator[Example]:
        """Yield the example with the labels of an annotation, or of the majority of several; account for their results."""
        source, audit, where = self.source, self.audit, self.source.where(at)
        results = [result for answer in group for result in answer.results]
        audit.take("annotations", len(group))
        audit.take("regions", sum(len(answer.annotation.get("result") or ()) for answer in group))
        for problem in (problem for answer in group for problem in answer.bad):
            if self.wanted.on_error == "stop":
                raise DataError(f"{where}: {problem}. Set data.on_error: quarantine to leave such results out.")
            audit.drop("regions", "spans that read otherwise" if source.for_tokens else "results that cannot be read", where, problem)
        for answer in group:
            for (reason, detail), number in answer.unused.items():
                audit.drop("regions", reason, where, detail, number)
        given = False
        try:
            labelled, kept = self._with_labels(example, group)
            for good in source.accept(place, labelled, at):
                given = True
                audit.give("annotations", len(group))
                audit.give("regions", len(kept))
                for moved in filter(None, kept):
                    audit.repair("regions", "spans moved to their text", where, moved)
                if len(kept) < len(results):
                    audit.drop("regions", "results outvoted", where, "not of the majority", len(results) - len(kept))
                yield good
        finally:
            for unit, number in (("annotations", len(group)), ("regions", len(results))):
                if number and not given:
                    audit.drop(unit, f"{unit} of tasks left out", where, f"{number} with the example", number)

    def _with_labels(self, example: Example, group: Sequence[Answer]) -> tuple[Example, list[str]]:
        """Return the example with its labels, and of each result that counts how its span was moved."""
        kind, several = self.source.kind, len(group) > 1
        results = [result for answer in group for result in answer.results]
        values = [value for answer in group for value in (dict.fromkeys(answer.values) if several else answer.values)]
        if several and values:
            votes = Counter(values)
            values = [median(values)] if kind == "regress" else [value for value in votes if 2 * votes[value] > len(group)]
        kept = [moved for found, moved in results if not several or kind == "regress" or not set(found).isdisjoint(values)]
        name, to = next((item for item in group[0].controls.items() if self.wanted.control in (None, item[0])), ("", ""))
        by = {} if several else group[0].by
        example = replace(example, meta={**example.meta, "control": name, "object": to, **group[0].number, **by})
        if self.source.for_tokens:
            return replace(example, spans=tuple(values)), kept
        unique = list(dict.fromkeys(values))
        if not unique and kind != "multilabel":
            raise Unused("no majority" if several and results else "unlabelled", "no label of this kind that counts")
        if len(unique) > 1 and kind != "multilabel":
            raise ValueError(f"expected one {'number' if kind == 'regress' else 'choice'}, found {shown(unique)}")
        if kind == "regress":
            return replace(example, score=unique[0]), kept
        return replace(example, labels=tuple(dict.fromkeys(map(self.source.name_of, unique)))), kept

    def _leave(self, reason: str, where: str, annotations: Sequence[Mapping[str, Any]]) -> None:
        """Account for annotations that are not used, and for their results."""
        regions = sum(len(one.get("result") or ()) for one in annotations)
        for unit, number, kind in (("annotations", len(annotations), reason), ("regions", regions, f"regions of {reason}")):
            self.audit.take(unit, number)
            if number:
                self.audit.drop(unit, kind, where, f"{number} not used", number)
