"""What Prometheus asks for: counts of requests, predictions and failures, over all workers of a server.

Define a metric of your own anywhere, as prometheus_client's documentation shows, and it is in /metrics too.
"""

from flask_openapi3 import OpenAPI


def init_app(app: OpenAPI) -> None:
    """Count each request, prediction and failure, and add /metrics."""
    # Here, as gunicorn.conf.py must name the folder of the workers before prometheus_client is imported.
    from webapp.extras.prometheus import routes

    inference = app.extensions["inference"]
    inference.after_store.append(routes.count_predictions)
    inference.failed.append(routes.count_failure)
    app.after_request(routes.count_request)
    app.register_api(routes.blueprint)
