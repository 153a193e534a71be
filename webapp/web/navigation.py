"""The bar on top of each page."""

from webapp.errors import LogUnavailable
from webapp.web.login import signed_in

FOR_THE_SIGNED_IN = [
    ("batch.page", "Batch"),
    ("review.page", "Review"),
    ("monitor.page", "Monitor"),
    ("models.page", "Models"),
]


def navigation() -> dict[str, object]:
    """Return what the bar's template needs."""
    try:
        inside = signed_in()
    except LogUnavailable:  # the page that says so needs a bar too
        inside = False
    entries = [("check.form", "Check"), *(FOR_THE_SIGNED_IN if inside else []), ("docs.page", "API")]
    return {"signed_in": inside, "entries": entries}
