"""The one error a user can cause and mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Report bad input in one line: what was found, what is accepted, what to do.

    Args:
        subject: What the line is about, usually a file or a parameter.
        found: The value or state that was met.
        accepted: What would have been accepted.
        remedy: The next step, when it does not follow from `accepted`.

    Source: ours; every error of the command line has this form.
    """

    def __init__(self, subject: object, found: str, accepted: str, remedy: str = "") -> None:
        self.subject, self.found, self.accepted, self.remedy = subject, found, accepted, remedy
        line = f"{subject}: found {found}; accepted: {accepted}."
        super().__init__(f"{line} {remedy}".strip())

    @classmethod
    def choice(cls, subject: object, found: object, choices: Iterable[str]) -> "InputError":
        """Return the error about a word that is none of the choices; it names the nearest one."""
        known = list(choices)
        return cls(subject, repr(found), ", ".join(known), did_you_mean(str(found), known))


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return a question with the choice nearest to a word; empty if none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else ""
