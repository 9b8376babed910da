"""Pages from templates: HTML in which whatever a user named is text, under a strict policy."""

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse

from service.auth.browsers import csrf_token
from service.auth.subjects import Subject
from service.dashboard.cards import markdown

STATIC = Path(__file__).resolve().parent / "static"

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {"Content-Security-Policy": POLICY, "Cross-Origin-Opener-Policy": "same-origin"}

SECTIONS = (
    ("/", "Overview"),
    ("/datasets", "Data sets"),
    ("/jobs", "Jobs"),
    ("/sweeps", "Sweeps"),
    ("/models", "Models"),
    ("/try", "Try it"),
    ("/keys", "Keys"),
    ("/usage", "Usage"),
    ("/settings", "Settings"),
)


def render(request: Request, template: str, **context: Any) -> HTMLResponse:
    """A page for somebody who is signed in, or a part of one.

    Without a browser's cookie, as when a program asks with its key, the page has no CSRF token and
    can change nothing.
    """
    subject: Subject = request.state.subject
    token = getattr(request.state, "browser_token", None)
    return _answer(
        template,
        subject=subject,
        csrf=csrf_token(token) if token is not None else "",
        here=request.url.path,
        **context,
    )


def render_open(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    """A page that needs no key."""
    return _answer(template, status=status, **context)


def wants_page(connection: HTTPConnection) -> bool:
    """Whether a person's browser asks, and not a script of a page."""
    return "text/html" in connection.headers.get("accept", "") and not (
        "hx-request" in connection.headers or connection.scope["path"].startswith("/api/")
    )


def _answer(template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
    html = environment().get_template(template).render(**context)
    return HTMLResponse(html, status, headers=HEADERS)


@cache
def environment() -> Environment:
    """What all templates share; made at the first page."""
    made = Environment(
        loader=PackageLoader("service.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(asset=asset, sections=SECTIONS)
    made.filters.update(
        count=count,
        duration=duration,
        figure=figure,
        instant=instant,
        markdown=markdown,
        share=share,
        size=size,
    )
    return made


@cache
def asset(name: str) -> str:
    """The address of a static file, which changes with its content."""
    path = STATIC / name
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else "missing"
    return f"/static/{name}?v={digest}"


def count(value: int) -> str:
    """1,234,567."""
    return f"{value:,}"


def duration(seconds: float | None) -> str:
    """42 s, 3 min, 1.5 h, 2.0 days; of what is not known, a dash."""
    if seconds is None:
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def figure(value: Any) -> str:
    """A measured number, short; what is none, as it is."""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return "–" if value is None else str(value)


def share(value: float) -> str:
    """Of 0 to 1, as 37 %."""
    return f"{100 * value:.0f} %"


def size(bytes_: int) -> str:
    """512 B, 1.4 kB, 20 MB."""
    if bytes_ < 1_000:
        return f"{bytes_} B"
    value, units = float(bytes_), ["kB", "MB", "GB", "TB"]
    while units:
        value, unit = value / 1_000, units.pop(0)
        if value < 999.5:
            break
    return f"{value:.3g} {unit}"


def instant(value: datetime) -> str:
    """A time for machines; the reader's zone is for his browser to add."""
    return value.astimezone(UTC).isoformat(timespec="seconds")
