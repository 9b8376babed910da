"""`reprise probe`: whether the API of this machine is ready, for health checks of containers."""

import http.client
import os

from service.commands.client import CommandError

TIMEOUT_SECONDS = 4.0


def probe() -> None:
    """Ask the API at 127.0.0.1:REPRISE_PORT whether it is ready; exit code 1 if not."""
    port = os.environ.get("REPRISE_PORT", "8000")
    connection = http.client.HTTPConnection(f"127.0.0.1:{port}", timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/ready")
        response = connection.getresponse()
        answer = response.read(1000).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise CommandError(f"The API does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise CommandError(f"The API is not ready: {answer}")
