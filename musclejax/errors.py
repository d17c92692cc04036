"""The one error a user can cause and mend."""


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
