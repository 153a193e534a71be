# Step 4, deploy, in a container: docker build -t hamlet . && docker run -p 8000:8000 -v hamlet:/data hamlet
FROM python:3.11-slim AS build
RUN python -m venv /opt/venv
WORKDIR /opt/hamlet
# The requirements first: the code changes more often, and what is above the first change is not built again.
COPY requirements.lock requirements-postgres.lock ./
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-postgres.lock

FROM python:3.11-slim
COPY --from=build /opt/venv /opt/venv
WORKDIR /opt/hamlet
COPY . .
# Its user may write to the log's folder and the models' alone; the volume begins with the shipped model.
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin hamlet
RUN install -d -o hamlet -m 700 /data/instance && cp -r saved_models /data/saved_models && chown -R hamlet /data/saved_models
ENV HOST=0.0.0.0 PORT=8000 PYTHONDONTWRITEBYTECODE=1 \
    HAMLET_INSTANCE_FOLDER=/data/instance HAMLET_MODELS_FOLDER=/data/saved_models \
    HAMLET_MAX_REQUESTS_PER_MINUTE=120
USER hamlet
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["/opt/venv/bin/python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
CMD ["/opt/venv/bin/python", "-m", "webapp"]
