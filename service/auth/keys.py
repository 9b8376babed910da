"""The text of a key: `rp_<id>_<secret>_<checksum>`.

The id names the row, the secret is 256 random bits, the checksum lets a mistyped or foreign text
be refused without a query. A hash of one round is enough for a secret that cannot be guessed.
"""

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "rp"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 16
SECRET_LENGTH = 43  # 62 ** 43 > 2 ** 256
CHECKSUM_LENGTH = 6

_KEY = re.compile(
    rf"{PREFIX}_(?P<id>[0-9A-Za-z]{{{ID_LENGTH}}})_(?P<secret>[0-9A-Za-z]{{{SECRET_LENGTH}}})"
    rf"_(?P<checksum>[0-9A-Za-z]{{{CHECKSUM_LENGTH}}})"
)


@dataclass(frozen=True)
class PlainKey:
    """A key as its owner holds it. It is shown once and never stored."""

    public_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        stem = f"{PREFIX}_{self.public_id}_{self.secret}"
        return f"{stem}_{_checksum(stem)}"

    @property
    def secret_sha256(self) -> bytes:
        return hashlib.sha256(self.secret.encode("ascii")).digest()


def new_key() -> PlainKey:
    return PlainKey(public_id=_random(ID_LENGTH), secret=_random(SECRET_LENGTH))


def parse(text: str) -> PlainKey | None:
    """The parts of a well-formed key; None for everything else."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    key = PlainKey(match["id"], match["secret"])
    return key if hmac.compare_digest(key.text, text) else None


def is_secret_of(key: PlainKey, secret_sha256: bytes | None) -> bool:
    """Compares in constant time; where there is no such key, does the same work in vain."""
    expected = secret_sha256 if secret_sha256 is not None else bytes(32)
    return hmac.compare_digest(key.secret_sha256, expected) and secret_sha256 is not None


def _random(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(stem: str) -> str:
    number = zlib.crc32(stem.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return digits
