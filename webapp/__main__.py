"""`python -m webapp`: start the production server, from any directory."""

import os
import sys

from webapp.config import ADDRESS, HOST, INSTANCE_FOLDER, MAX_UPLOAD, PORT, ROOT, THREADS
from webapp.instance import surprises


def main() -> None:
    """Become gunicorn; on Windows, where gunicorn cannot run, serve with waitress."""
    os.chdir(ROOT)
    if sys.platform == "win32":
        serve_with_waitress()
    else:
        os.execv(sys.executable, [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")])  # noqa: S606  all ours


def serve_with_waitress() -> None:
    """Serve in this process; waitress takes in each request whole before a thread has to do with it."""
    import waitress

    from wsgi import app

    print(*surprises(INSTANCE_FOLDER), f"Hamlet is ready: open http://{ADDRESS}", sep="\n", flush=True)
    waitress.serve(
        app,
        host=HOST,
        port=PORT,
        threads=THREADS,
        max_request_body_size=MAX_UPLOAD,
        clear_untrusted_proxy_headers=False,  # HAMLET_TRUSTED_PROXIES alone decides
    )


if __name__ == "__main__":
    main()
