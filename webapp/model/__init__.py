"""Steps 1 and 2: train a model, save it; and what serves it."""

import sys

# scikit-learn imports pandas where it is installed, though it has no use for it, and each process carries 60 MB more.
# So it is told that there is none. Whoever needs pandas, such as your own recipe, imports it as ever.
if "pandas" not in sys.modules:
    sys.modules["pandas"] = None  # type: ignore[assignment]
    import sklearn.utils.fixes  # noqa: F401

    del sys.modules["pandas"]
