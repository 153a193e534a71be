"""Steps 1 and 2: train a model, save it; and what serves it."""

import sys

# scikit-learn imports pandas wherever it is installed, which costs each process 60 MB, and does not need it here. So
# pandas is hidden during this import. Code that needs pandas, such as your own recipe, imports it as usual.
if "pandas" not in sys.modules:
    sys.modules["pandas"] = None  # type: ignore[assignment]
    import sklearn.utils.fixes  # noqa: F401

    del sys.modules["pandas"]
