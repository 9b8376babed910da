"""Files as they are stored: whole, in parts, or not again."""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, MalformedRangeHeader, RangeNotSatisfiable, Response

from service.errors import RangeNotSatisfiableError

MEDIA_TYPE = "application/octet-stream"  # whatever is in it: nobody shall show it as a page


def download(request: Request, path: Path, *, filename: str, sha256: str) -> Response:
    """Streams an immutable file; 304 to whoever has these bytes already."""
    etag = f'"{sha256}"'
    headers = {"ETag": etag, "X-Content-Type-Options": "nosniff", "Digest": f"sha-256={sha256}"}
    known = request.headers.get("if-none-match", "")
    if etag in known or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    return _FileInParts(path, media_type=MEDIA_TYPE, filename=filename, headers=headers)


class _FileInParts(FileResponse):
    """Starlette answers a Range that it cannot serve in plain text.

    One that is malformed, or asks for too many parts, gets the whole file (RFC 9110, 14.2).
    """

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []
        except RangeNotSatisfiable as error:
            raise RangeNotSatisfiableError(file_size) from error
