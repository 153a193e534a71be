// Swagger UI, from the files of its package on this server.
"use strict";

const target = document.getElementById("swagger-ui");
SwaggerUIBundle({ domNode: target, url: target.dataset.url, deepLinking: true, validatorUrl: null });
