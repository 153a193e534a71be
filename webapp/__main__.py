"""`python -m webapp`: start the production server, from any directory."""

import os
import sys

from webapp.config import HOST, PORT, ROOT, THREADS, refuse_debug_mode


def main() -> None:
    """Become gunicorn; on Windows, where gunicorn cannot run, serve with waitress."""
    refuse_debug_mode()
    os.chdir(ROOT)
    if sys.platform == "win32":
        import waitress

        from wsgi import app

        print(f"Hamlet is ready: open http://{HOST}:{PORT}")
        waitress.serve(app, host=HOST, port=PORT, threads=THREADS)
    else:
        os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")])  # noqa: S606  all ours


if __name__ == "__main__":
    main()
