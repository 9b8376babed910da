"""The README's shell blocks that are marked `<!-- run: name -->`."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"


def blocks() -> dict[str, str]:
    """Name of the mark above a block -> its text, exactly as a reader would copy it."""
    text = README.read_text(encoding="utf-8")
    return dict(re.findall(r"<!-- run: (\w+) -->\n```bash\n(.*?)```", text, flags=re.DOTALL))
