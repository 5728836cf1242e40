"""A page as a browser takes it apart: what it would load, its headings, tables and pictures."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """What is in a page; `feed` it once."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.headings: list[tuple[int, str]] = []
        self.pictures: list[dict[str, str]] = []
        """Title, description and role of each SVG."""
        self.unscoped = 0
        self.cells: list[list[str]] = []
        """Rows of all tables."""
        self.words = ""
        """The text that people read."""
        self._open: list[str] = []
        self.feed(text)
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self._open.append(tag)
        self.loads += [value for name, value in given.items() if name in ("src", "xlink:href")]
        if "href" in given:
            (self.links if tag == "a" else self.loads).append(given["href"])
        if "id" in given:
            self.ids.append(given["id"])
        if tag in ("h1", "h2", "h3"):
            self.headings.append((int(tag[1]), ""))
        if tag == "svg":
            self.pictures.append({"role": given.get("role", ""), "title": "", "desc": ""})
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
            self.unscoped += tag == "th" and "scope" not in given

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        if within == "style":
            return
        self.words += f"{data} "
        if within in ("h1", "h2", "h3"):
            level, text = self.headings[-1]
            self.headings[-1] = (level, text + data)
        if within in ("title", "desc") and "svg" in self._open:
            self.pictures[-1][within] += data
        if within in ("td", "th"):
            self.cells[-1][-1] += data
