# One image for the daemon, its workers and the gateway; compose.yaml says which one runs. What is installed is what was locked.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements-cluster.lock requirements-build.lock ./
RUN python -m venv /opt/convo \
    && /opt/convo/bin/pip install --no-cache-dir --require-hashes -r requirements-cluster.lock \
    && /opt/convo/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY protocol protocol
COPY daemon daemon
COPY tui tui
COPY scripts/convo_cli scripts/convo_cli
COPY scripts/convo_gateway scripts/convo_gateway
RUN /opt/convo/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim AS base
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/convod convod
COPY --from=build /opt/convo /opt/convo
ENV PATH=/opt/convo/bin:$PATH PYTHONUNBUFFERED=1
USER convod
WORKDIR /var/lib/convod

FROM base AS convod
# A volume that is mounted here takes its owner from this directory.
RUN mkdir -p /var/lib/convod/state /var/lib/convod/models
ENV HF_HUB_CACHE=/var/lib/convod/models
VOLUME ["/var/lib/convod/state", "/var/lib/convod/models"]
EXPOSE 8765
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["convo", "status", "--connect", "unix:/tmp/convod.sock"]
STOPSIGNAL SIGTERM
# Inside the compose network only, which is why no TLS is asked for; every client needs a token all the same.
CMD ["convod", "--socket", "/tmp/convod.sock", "--state-dir", "/var/lib/convod/state", "--listen", "ws://0.0.0.0:8765", "--insecure"]

FROM base AS gateway
EXPOSE 8766
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8766/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["convo-gateway", "--listen", "0.0.0.0:8766", "--connect", "ws://convod:8765", "--insecure"]
