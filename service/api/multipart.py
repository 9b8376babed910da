"""Reads a multipart body as it arrives: one file that goes straight to where it is kept.

The parser of python-multipart finds the parts; what a part may be is decided here. Nothing but
headers and the one short text field is ever held in memory.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import Fault, MalformedMultipartError, ValidationError

MAX_PARTS = 8
MAX_HEADERS = 8
MAX_HEADER_BYTES = 4 * 1024
MAX_NAME_CHARS = 200
MAX_FILENAME_CHARS = 255
# As browsers and libraries escape line breaks and NUL in a file's name.
ESCAPED_CONTROL = re.compile(r"%0[0ad]", re.IGNORECASE)
PLAIN_ENCODINGS = ("binary", "8bit", "7bit")


@dataclass
class UploadForm:
    """What the body held beside the file's bytes."""

    filename: str | None = None
    name: str | None = None


class UploadParser:
    """Hands the bytes of the part `file` to `sink`, and keeps the part `name`.

    Raises MalformedMultipartError for what is not multipart, is too much of it, or is a name that
    no honest client sends; ValidationError for parts that do not belong here.
    """

    def __init__(self, content_type: str, sink: Callable[[bytes], None]) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not boundary:
            raise MalformedMultipartError("The Content-Type names no boundary.")
        self.form = UploadForm()
        self._sink = sink
        self._parts = 0
        self._seen: set[str] = set()
        self._part: str | None = None
        self._headers: dict[bytes, bytes] = {}
        self._field = bytearray()
        self._value = bytearray()
        self._name = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._take_field,
                    "on_header_value": self._take_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take_data,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
                max_header_count=MAX_HEADERS,
                max_header_size=MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise MalformedMultipartError(str(error)) from None

    def write(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise MalformedMultipartError(str(error)) from None

    def finish(self) -> UploadForm:
        """To be called after the last byte."""
        if not self._ended:
            raise MalformedMultipartError("The body ends before its last boundary.")
        if "file" not in self._seen:
            fault = Fault(("body", "file"), "Field required")
            raise ValidationError("The part `file` is missing.", faults=[fault])
        return self.form

    # The parser's calls, in the order in which they come for a part

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedMultipartError(f"The body has more than {MAX_PARTS} parts.")
        self._headers = {}

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        field = bytes(self._field).lower()
        if field in self._headers:
            raise MalformedMultipartError("A part has the same header twice.")
        self._headers[field] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        encoding = _text(self._headers.get(b"content-transfer-encoding", b"binary"))
        if encoding.strip().lower() not in PLAIN_ENCODINGS:
            raise MalformedMultipartError("A part has a Content-Transfer-Encoding.")
        disposition = _text(self._headers.get(b"content-disposition", b""))
        kind, options = parse_options_header(disposition.encode("utf-8"))
        if kind.lower() != b"form-data" or not options.get(b"name"):
            raise MalformedMultipartError("A part has no Content-Disposition with a name.")
        part = options[b"name"].decode("utf-8")
        if part not in ("file", "name"):
            fault = Fault(("body", part), "There is no such part.")
            raise ValidationError("The parts are `file` and `name`.", faults=[fault])
        if part in self._seen:
            raise MalformedMultipartError(f"The part `{part}` comes twice.")
        self._seen.add(part)
        self._part = part
        if part == "file" and b"filename" in options:
            self.form.filename = _filename(options[b"filename"].decode("utf-8"))

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "file":
            self._sink(data[start:end])
            return
        self._name += data[start:end]
        if len(self._name) > 4 * MAX_NAME_CHARS:
            raise _bad_name(f"must have at most {MAX_NAME_CHARS} characters")

    def _end_part(self) -> None:
        if self._part == "name":
            self.form.name = _name(bytes(self._name))
        self._part = None

    def _end(self) -> None:
        self._ended = True


def _text(header: bytes) -> str:
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMultipartError("A part's header is not UTF-8.") from None
    if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in text):
        raise MalformedMultipartError("A part's header holds a control character.")
    return text


def _filename(filename: str) -> str | None:
    """Kept for people to read and for its ending; it never becomes a path."""
    if len(filename) > MAX_FILENAME_CHARS:
        raise MalformedMultipartError(
            f"The file's name has more than {MAX_FILENAME_CHARS} characters."
        )
    if ESCAPED_CONTROL.search(filename):
        raise MalformedMultipartError("The file's name holds a line break or NUL.")
    return filename or None


def _name(raw: bytes) -> str:
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise _bad_name("must be UTF-8") from None
    if not name.strip() or len(name) > MAX_NAME_CHARS:
        raise _bad_name(f"must have 1 to {MAX_NAME_CHARS} characters and not only white space")
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        raise _bad_name("must not hold control characters")
    return name


def _bad_name(message: str) -> ValidationError:
    return ValidationError("The name is not usable.", faults=[Fault(("body", "name"), message)])
