"""Step 4, deploy: what gunicorn, and `flask --app wsgi`, import."""

from webapp import create_app

app = create_app()
