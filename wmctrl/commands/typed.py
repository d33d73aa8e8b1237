"""How the command is typed here, for hints that can be copied."""

import re
from pathlib import Path

HINT = re.compile(r"(?<![\w./])wm (?=[a-z])")
"""The command's name in front of one of its commands."""


def wm() -> str:
    """`./wm` beside a source tree's bootstrap script, `wm` elsewhere."""
    return "./wm" if Path("wm").is_file() else "wm"


def typed(text: str) -> str:
    """A text whose hints say what is typed here."""
    return HINT.sub(f"{wm()} ", text)
