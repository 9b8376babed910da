"""Errors as a person sees them: a page where a browser asked for one, else the problem document."""

from urllib.parse import quote

from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response

from service.api.problems import answer_problem, to_service_error
from service.dashboard.pages import render_open, wants_page
from service.errors import UnauthenticatedError


async def answer(connection: HTTPConnection, error: Exception) -> Response:
    """Who is not signed in is sent to where he can."""
    if connection.scope["type"] != "http" or not wants_page(connection):
        return await answer_problem(connection, error)
    problem = to_service_error(error)
    if isinstance(problem, UnauthenticatedError):
        wanted = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
        return RedirectResponse(f"/sign-in?next={quote(wanted, safe='')}", status_code=303)
    response = render_open(
        "error.html",
        status=problem.status,
        title=problem.title,
        detail=problem.detail,
        request_id=connection.scope.get("state", {}).get("request_id", ""),
    )
    if problem.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(max(1, round(problem.retry_after_seconds)))
    return response
