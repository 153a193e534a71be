"""Nothing that the event loop of worker.py runs may wait, as it serves everybody.

Code that is about to wait, for a lock, a disk or a slow model, calls `before_waiting`. On the event loop this ends the
attempt, and the worker starts the request again in a thread. In a thread, a command or another server it does nothing.
"""

import threading

loop_thread: int | None = None  # of this process, where worker.py runs a loop


class WouldWait(BaseException):
    """Not an Exception: nothing on its way may take it for an error of the request."""


def before_waiting() -> None:
    """Raise WouldWait on the event loop."""
    if threading.get_ident() == loop_thread:
        raise WouldWait
