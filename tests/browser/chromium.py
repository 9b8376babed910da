"""Where the machine's Chromium is."""

import shutil

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> str | None:
    """The first browser on the PATH; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)
