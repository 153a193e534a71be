"""Step 4, deploy: what gunicorn, and `flask --app wsgi`, import."""

from webapp.app import create_app

app = create_app()
