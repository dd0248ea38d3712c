"""What tests of pages share: a parser that sees the tags of a page, and a text that tries to leave its place."""

from html.parser import HTMLParser

EVIL = "<script>alert('x')</script> & \"quoted\" <img src=x onerror=y>"
VOID = {"meta", "br", "img", "input"}


class Page(HTMLParser):
    """The tags of a page, in order, and whether each is closed."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.texts = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def ids(self):
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]

    def links(self):
        return [attributes["href"][1:] for tag, attributes in self.tags if tag == "a"]
