"""Every error that Hamlet raises on purpose.

HamletError                 500  never raised itself
├── InvalidInput            422  a message or field that cannot be used; says what to send instead
├── NotFound                404  no such prediction, or no such version
├── JobRunning              409  one job at a time: wait for the one that runs, or cancel it
├── NotReady                503  nothing wrong with the request: try again once the cause is mended
│   ├── ModelUnusable            the model is missing, changed, or made by another scikit-learn
│   └── LogUnavailable           the prediction cannot be stored, so it is not answered
└── BadData                 (command line: exit code 2) a data file that cannot be trained or tested on

A door (web, api, cli) turns these into its own shape: a page, problem+json, or one line and an exit code.
The message is written for the person who reads it and never carries a stack trace.
"""


class HamletError(Exception):
    """An error with an HTTP status, a short title, and a message that says what to do."""

    status = 500
    title = "Something went wrong"


class InvalidInput(HamletError):
    """The input cannot be used; `errors` lists each fault as {"field", "message"}."""

    status = 422
    title = "The input cannot be used"

    def __init__(self, message: str, errors: list[dict[str, str]] | None = None):
        super().__init__(message)
        self.errors = errors or []


class NotFound(HamletError):
    status = 404
    title = "Not found"


class JobRunning(HamletError):
    status = 409
    title = "Another job is running"


class NotReady(HamletError):
    status = 503
    title = "Not ready"


class ModelUnusable(NotReady):
    title = "The model cannot be used"


class LogUnavailable(NotReady):
    title = "The log cannot be written"


class BadData(HamletError):
    status = 422
    title = "The data cannot be used"
