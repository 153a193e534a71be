"""The bar on top of each page."""

from webapp.web.login import signed_in

FOR_THE_SIGNED_IN = [
    ("batch.page", "Batch"),
    ("review.page", "Review"),
    ("monitor.page", "Monitor"),
    ("models.page", "Models"),
]


def navigation() -> dict[str, object]:
    """Return what the bar's template needs."""
    inside = signed_in()
    entries = [("check.form", "Check"), *(FOR_THE_SIGNED_IN if inside else []), ("docs.page", "API")]
    return {"signed_in": inside, "entries": entries}
