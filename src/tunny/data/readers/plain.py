"""Plain text: each line that is not blank is a text without labels."""

from collections.abc import Iterator

from tunny.core.errors import DataError
from tunny.data.example import Example, Row
from tunny.data.source import GOLD, Source


def read(source: Source) -> Iterator[Example]:
    """Yield one unlabelled example a line."""
    if source.labels_needed:
        what = f"plain text has no labels, and labels are needed here. {GOLD[source.for_tokens]}"
        raise DataError(f"{source.path.name}: {what} If the file is in another format, say so in data.format.")
    for number, line in source.lines():
        if line.strip():
            yield from source.accept(number, Example(source.where(number), line))
        else:
            source.audit.count("blank lines")


def rows(source: Source) -> Iterator[Row]:
    """Yield each line that is not blank."""
    return (Row(number, line + "\n") for number, line in source.lines() if line.strip())
