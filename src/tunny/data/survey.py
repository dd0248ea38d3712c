"""What one pass over the examples of a split sees: lengths, documents, surface forms of labels, encoding trouble.

Numbers are kept of every row, texts only as places where to look, surface forms up to a limit: some hundred bytes a row at most.
"""

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from math import isfinite

import numpy as np

from tunny.data.encode import Encoder
from tunny.data.prepare import Split
from tunny.data.rows import Ints
from tunny.data.store import from_rows, read_rows
from tunny.data.words import find_words, words_of

FORMS = 500_000  # different surface forms that are counted in a split
PLACES = 3  # kept of each label and each trouble
EXAMPLES = 20_000  # in which examples of labels are looked for
SURVEYED = ["text", "text_b", "spans", "labels", "score", "document", "word_starts", "word_ends"]

_HIGH = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"  # bytes 80 to bf, read as latin-1 or cp1252
_MOJIBAKE = (  # the first character alone comes first: so it is quickly looked for
    rf"[ÃÂâðïÐÑã-é](?:(?<=Ã)[{_HIGH}]|(?<=Â)[\x80-\xbf]|(?<=â)[\x80-\x9f€‚„†ˆœ˜][{_HIGH}]|(?<=ð)[\x9fŸ][{_HIGH}]{{2}}|(?<=ï)»¿"
    rf"|(?<=[ÐÑ])[{_HIGH}][ÐÑ][{_HIGH}]|(?<=[ã-é])[{_HIGH}]{{2}}[ã-é][{_HIGH}]{{2}})"
)
_SPELLED = r"\u0e00-\u109f\u1780-\u17ff"  # Thai to Myanmar and Khmer, where a zero-width space parts words
_INVISIBLE = rf"\ufeff|[\xad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069](?<=[^\W{_SPELLED}].)(?=\w)"
Place = tuple[int, int]  # row and character


def _searching(pattern: str) -> Callable[[str], int]:
    compiled = re.compile(pattern)
    return lambda text: found.start() if (found := compiled.search(text)) else -1


TROUBLES: dict[str, Callable[[str], int]] = {  # the place of each in a text, -1 where there is none
    "replacement characters (U+FFFD)": _searching("\ufffd"),
    "UTF-8 read as another encoding": _searching(_MOJIBAKE),
    "control characters": _searching(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"),
    "invisible characters in words": _searching(_INVISIBLE),
    "letters not in composed form (NFC)": lambda text: -unicodedata.is_normalized("NFC", text),
}


@dataclass
class Survey:
    """What the examples of one split hold."""

    lengths: defaultdict[str, list[Ints]] = field(default_factory=lambda: defaultdict(list))  # by measure, in parts
    documents: Counter[str] = field(default_factory=Counter)
    forms: dict[tuple[str, str], list[int]] = field(default_factory=dict)  # surface form and label -> how often, first row, start there
    samples: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # of each label, beginnings of texts
    troubles: dict[str, tuple[int, list[Place]]] = field(default_factory=dict)  # how many texts, and the first
    uncounted: int = 0  # spans that came after the limit of surface forms


def survey(split: Split, row: int, encoder: Encoder | None) -> Survey:
    """Look at every example of a split; `row` is the number of its first row among those of all splits."""
    seen = Survey()
    for batch in split.examples.batches:
        examples = from_rows(batch.select(SURVEYED))
        texts, seconds = [one.text for one in examples], [one.text_b or "" for one in examples]
        words = [words_of(one) for one in examples]
        sizes: dict[str, list[float]] = {"span words": [], "span characters": []}
        sizes["words"] = [len(found) + len(find_words(other)) for found, other in zip(words, seconds, strict=True)]
        sizes["characters"] = [len(text) + len(other) for text, other in zip(texts, seconds, strict=True)]
        sizes["scores"] = [one.score for one in examples if one.score is not None and isfinite(one.score)]
        if encoder is not None:
            for name, some in (("tokens", texts), ("second", seconds)):
                sizes[name] = list(map(len, encoder.tokenizer.encode_batch(some, add_special_tokens=False)))
        seen.documents.update(one.document for one in examples if one.document is not None)
        for number, (one, found) in enumerate(zip(examples, words, strict=True), row):
            for label in one.labels or ():
                if len(seen.samples[label]) < PLACES:
                    seen.samples[label].append(excerpt(one.text))
            starts, ends = zip(*found, strict=True) if found and one.spans else ((), ())
            for start, end, label in one.spans or ():
                sizes["span words"].append(bisect_left(starts, end) - bisect_right(ends, start))
                sizes["span characters"].append(end - start)
                form = one.text[start:end], label
                if form in seen.forms:
                    seen.forms[form][0] += 1
                elif len(seen.forms) < FORMS:
                    seen.forms[form] = [1, number, start]
                else:
                    seen.uncounted += 1
        for name, values in sizes.items():
            seen.lengths[name].append(np.array(values, float if name == "scores" else np.int64))
        _look_for_trouble(seen, [whole(*pair) for pair in zip(texts, seconds, strict=True)], row)
        row += batch.num_rows
    return seen


def _look_for_trouble(seen: Survey, texts: list[str], row: int) -> None:
    together = "\n".join(texts)
    for name, find in TROUBLES.items():
        if find(together) >= 0:
            found = [(number, at) for number, text in enumerate(texts, start=row) if (at := find(text)) >= 0]
            number, places = seen.troubles.get(name, (0, []))
            seen.troubles[name] = number + len(found), [*places, *found][:PLACES]


def surface_forms(split: Split) -> set[str]:
    """Return the texts of the labelled spans of a split in lower case, as many as are counted at most."""
    examples = chain.from_iterable(map(from_rows, read_rows(split.examples_file, "text", "spans")))
    spans = ((one.text, span) for one in examples for span in one.spans or ())
    found: set[str] = set()
    for text, (start, end, _) in spans:
        found.add(text[start:end].lower())
        if len(found) > FORMS:
            break
    return found


def examples_of(split: Split, width: int) -> dict[str, list[str]]:
    """Return for each label the surface forms that it has most often, or the first texts that have it, cut; of the first examples."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for example in islice(split.examples, EXAMPLES):
        for start, end, label in example.spans or ():
            found[label][example.text[start:end]] += 1
        for label in example.labels or ():
            if len(found[label]) < PLACES:
                found[label][whole(example.text, example.text_b)] += 1
    return {label: [excerpt(form, width=width) for form, _ in forms.most_common(PLACES)] for label, forms in found.items()}


def unlabelled(split: Split, forms: Mapping[str, Sequence[str]], row: int) -> Iterator[tuple[str, Place]]:
    """Yield every place where one of the surface forms stands as whole words outside every span.

    `forms` holds them by their first word, the longest first. Words are those of the source, where it has any.
    """
    for number, one in enumerate((one for batch in split.examples.batches for one in from_rows(batch.select(SURVEYED))), row):
        done, words = 0, words_of(one)
        for start, stop in words:
            if start >= done and (likely := forms.get(one.text[start:stop])):
                ends = {end for _, end in words}
                form = next((form for form in likely if one.text.startswith(form, start) and start + len(form) in ends), "")
                done = start + len(form)
                if form and not any(span.start < done and start < span.end for span in one.spans or ()):
                    yield form, (number, start)


def whole(text: str, text_b: str | None) -> str:
    """Return one text or a pair as it is shown."""
    return f"{text} | {text_b}" if text_b else text


def excerpt(text: str, at: int = 0, width: int = 160) -> str:
    """Return the surroundings of a place on one line, with what cannot be seen written out."""
    begin = max(0, at - width // 3) if at > width * 2 // 3 else 0
    part = " ".join(text[begin : begin + width].split())
    shown = "".join(letter if letter.isprintable() or letter in "\u200c\u200d" else f"<U+{ord(letter):04X}>" for letter in part)
    return ("… " if begin else "") + shown + (" …" if begin + width < len(text) else "")
