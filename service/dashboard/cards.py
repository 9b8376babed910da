"""A model's card: Markdown, whoever wrote it, as HTML that does nothing and loads nothing."""

from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup

LINKS = ("https://", "http://", "mailto:")
ABOVE = 3  # levels of headings that a page has over a card


class _Parser(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802  # the library's name
        return url.lower().startswith(LINKS)


@cache
def _parser() -> MarkdownIt:
    return _Parser("commonmark", {"html": False}).enable("table")


def markdown(text: str) -> Markup:
    """The card as HTML that only the library wrote: tags of the text are text, links lead to
    `LINKS` alone, and a picture is named in place of being loaded."""
    parser = _parser()
    tokens = parser.parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + ABOVE)}"
        elif token.type in ("th_open", "td_open"):
            token.attrs.clear()  # alignment as an inline style, which the policy forbids
        for part in token.children or ():
            if part.type == "image":
                part.type = "text"
                part.content = f"[picture: {part.content}, {part.attrs['src']}]"
            elif part.type == "link_open":
                part.attrSet("rel", "nofollow noreferrer")
    return Markup(parser.renderer.render(tokens, parser.options, {}))  # noqa: S704  # see above
