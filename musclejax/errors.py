"""The one error a user can cause and mend."""

import difflib
from collections.abc import Iterable
from typing import Any

_LONGEST = 500
"""Characters of each part of an error. Source: ours; a line of a header may have a million."""


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
        parts = (shorten(printable(str(part))) for part in (subject, found, accepted, remedy))
        super().__init__("{}: found {}; accepted: {}. {}".format(*parts).strip())

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make the error again: a worker of a cluster sends it by pickle."""
        return type(self), (self.subject, self.found, self.accepted, self.remedy)

    @classmethod
    def choice(cls, subject: object, found: object, choices: Iterable[str]) -> "InputError":
        """Return the error about a word that is none of the choices; it names the nearest one."""
        known = list(choices)
        return cls(subject, repr(found), ", ".join(known), did_you_mean(str(found), known))


class DiskError(InputError):
    """Report a disk that cannot be written: the same command succeeds once there is room."""


def listed(names: Iterable[str], most: int = 5) -> str:
    """Return the first names in a line, with dots where more follow."""
    names = list(names)
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def count_of(number: int, noun: str) -> str:
    """Return a number of things in words: 1 scan, 2 scans."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def did_you_mean(word: str, choices: Iterable[str], cutoff: float = 0.5) -> str:
    """Return a question with the choice nearest to a word; empty if none is near.

    Args:
        word: What was given.
        choices: What is known.
        cutoff: Likeness from which a choice is near, 0 to 1.
    """
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=cutoff)
    return f"Did you mean {near[0]}?" if near else ""


def printable(text: str) -> str:
    """Return a text in one line that every terminal, font and file takes.

    Control characters, and bytes of a file name that are not UTF-8, become escapes.
    """
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)


def shorten(text: str, most: int = _LONGEST) -> str:
    """Return a text of at most `most` characters, the middle left out."""
    if len(text) <= most:
        return text
    half = (most - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def one_line(error: Exception, most: int = 120) -> str:
    """Return another library's message, short enough to stand in one of ours."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def describe_error(error: Exception) -> str:
    """Return an error in one line; one that nobody has foreseen with its type."""
    text = " ".join(str(error).split())
    if isinstance(error, InputError):
        return text
    if isinstance(error, OSError) and error.strerror:
        subject = f"{shorten(str(error.filename))}: " if error.filename else ""
        return subject + error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory ({text})" if text else "not enough memory"
    return f"unexpected {type(error).__name__}: {text}"[:300]
