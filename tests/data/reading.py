"""What the tests of reading share: write a file, read it, keep its audit."""

from tunny.data.audit import Audit
from tunny.data.labels import given_names
from tunny.data.read import read
from tunny.data.settings import DataSettings


class Reading(list):
    """The examples of a file, with the audit of reading it."""

    def __init__(self, path, kind="ner", *, labels_needed=True, **settings):
        self.audit = Audit()
        chosen = DataSettings(**settings)
        super().__init__(read([str(path)], chosen, kind, self.audit, names=given_names(chosen), labels_needed=labels_needed))


def written(folder, name, content, encoding="utf-8"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path
