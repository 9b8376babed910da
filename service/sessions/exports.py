"""A session's state as a text that can leave the service and come back unchanged.

It is signed for the workspace, and names the network that it is of: changed by one bit, or brought
to another workspace, it is refused before anything of it is read.
"""

import base64
import binascii
import hmac
import json
from dataclasses import asdict, dataclass
from uuid import UUID

from service.errors import Fault, StateInvalidError
from service.sessions.records import Pinned
from service.sessions.signing import Signer

FORMAT_VERSION = 1

_SIGNATURE_BYTES = 32
_LENGTH_BYTES = 4


@dataclass(frozen=True)
class Exported:
    """What an export holds. The log of inputs stays where it is."""

    pinned: Pinned
    state: bytes


def write(signer: Signer, workspace_id: UUID, exported: Exported) -> str:
    """Base64 of the signature, the length of the record, the record as JSON, and the state."""
    record = json.dumps({"format_version": FORMAT_VERSION, **asdict(exported.pinned)}).encode()
    content = len(record).to_bytes(_LENGTH_BYTES, "big") + record + exported.state
    return base64.b64encode(_signature(signer, workspace_id, content) + content).decode()


def read(signer: Signer, workspace_id: UUID, text: str) -> Exported:
    """Raises StateInvalidError for all that `write` did not make for this workspace."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _invalid("is no Base64") from None
    signature, content = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(signer, workspace_id, content)):
        raise _invalid("was changed, or was exported elsewhere")
    end = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "big")
    record = json.loads(content[_LENGTH_BYTES:end])
    if record.pop("format_version") != FORMAT_VERSION:
        raise _invalid("has another format than this program reads")
    return Exported(Pinned(**record), content[end:])


def _signature(signer: Signer, workspace_id: UUID, content: bytes) -> bytes:
    return signer.sign("session state", workspace_id.bytes, content)


def _invalid(what: str) -> StateInvalidError:
    fault = Fault(("body", "state"), what)
    return StateInvalidError(f"The state {what}.", faults=[fault])
