"""Refusals that name the nearest thing that would have been accepted."""

import difflib
from collections.abc import Iterable


def refusal(what: str, name: str, known: Iterable[str]) -> ValueError:
    """The error for a name that is not among the known ones, with the nearest of these."""
    names = sorted(known)
    folded = {candidate.lower(): candidate for candidate in names}
    near = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=3, cutoff=0.5)]
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return ValueError(f"unknown {what} {name!r}; {hint}")


def refuse_unknown(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raise for the first name that is not known."""
    for name in names:
        if name not in known:
            raise refusal(what, name, known)
