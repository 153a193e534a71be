"""What Prometheus asks for: counts of requests, predictions and failures, over all workers of a server.

Define a metric of your own anywhere, as prometheus_client's documentation shows, and it is in /metrics too.
"""

import time

from flask import Response, request
from flask_openapi3 import OpenAPI


def init_app(app: OpenAPI) -> None:
    """Count each request, prediction and failure, and add /metrics."""
    # Here, as gunicorn.conf.py must name the folder of the workers before prometheus_client is imported.
    from webapp.extras.prometheus import metrics, routes

    inference = app.extensions["inference"]
    inference.after_store.append(metrics.count_predictions)
    inference.failed.append(metrics.count_failure)

    @app.after_request
    def count(response: Response) -> Response:
        # By the route and its methods: what is counted is kept for good, and anybody can think of more paths.
        route, method = (request.url_rule.rule, request.method) if request.url_rule else ("unknown", "any")
        metrics.count_request(
            route, method, response.status_code, time.perf_counter() - request.environ["hamlet.started"]
        )
        return response

    app.register_api(routes.blueprint)
