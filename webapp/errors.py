"""Every error that Hamlet raises on purpose, and what each HTTP status is called.

HamletError                 500  never raised itself
├── InvalidInput            422  a message or field that cannot be used; says what to send instead
├── BadData                 422  a data file that cannot be trained or tested on (command line: exit code 2)
├── NotFound                404  no such prediction, or no such version
├── JobRunning              409  one job at a time: wait for the one that runs, or cancel it
└── NotReady                503  nothing wrong with the request: try again once the cause is mended
    ├── ModelUnusable            the model is missing, changed, or made by another scikit-learn
    └── LogUnavailable           the prediction cannot be stored, so it is not answered

The pages, the API and the commands turn these into their own shape: a page, problem+json, or one line and an exit code.
The message is written for the person who reads it and never carries a stack trace.
"""

TITLES = {
    400: "The request cannot be read",
    401: "An API key is needed",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Another job is running",
    413: "Too large",
    414: "The address is too long",
    415: "Unsupported media type",
    422: "The input cannot be used",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Not ready",
}


def counted(number: int, thing: str) -> str:
    """Return how many things there are: "1 message", "2,000 messages"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


class HamletError(Exception):
    """An error with an HTTP status and a message that says what to do; `title` is the status's, if not its own."""

    status = 500
    title = ""
    reason = ""  # what else those who run Hamlet should know: for their terminal and the server's log

    def __init__(self, message: str, errors: list[dict[str, str]] | None = None):
        """Take the message, and for input each fault in it as {"field", "message"}."""
        super().__init__(message)
        self.title = self.title or TITLES[self.status]
        self.errors = errors or []


class InvalidInput(HamletError):
    status = 422


class BadData(HamletError):
    status = 422
    title = "The data cannot be used"


class NotFound(HamletError):
    status = 404


class JobRunning(HamletError):
    status = 409


class NotReady(HamletError):
    status = 503


class ModelUnusable(NotReady):
    title = "The model cannot be used"


class LogUnavailable(NotReady):
    title = "The log cannot be used"

    @classmethod
    def because(cls, cause: BaseException) -> "LogUnavailable":
        """Return the error for a failure of the database; its reason, which may name files, is not in the message."""
        error = cls("The log cannot be used just now, so nothing was stored. Please try again in a moment.")
        error.reason = str(getattr(cause, "orig", cause)).partition("\n")[0]  # what follows may quote a row
        return error
