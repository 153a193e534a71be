"""Step 4, deploy: what gunicorn, and `flask`, import."""

import runpy
import sys

try:
    from webapp.app import create_app

    app = create_app()
except KeyboardInterrupt:  # Ctrl-C before a command has begun: no other exit code says so
    sys.exit(130)

if __name__ == "__main__":  # python wsgi.py, as tutorials start their app
    runpy.run_module("webapp", run_name="__main__")
