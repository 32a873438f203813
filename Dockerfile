# syntax=docker/dockerfile:1
# One image for all kinds of processes; a container's command is a line of the Procfile. docs/how-to/run-in-containers.md
#
# The base is a tag, because its digest could not be looked up where this file was written. Pin it in your build:
#   docker buildx imagetools inspect python:3.12-slim-bookworm        # prints "Digest: sha256:..."
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:... --tag octollm .
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_LINK_MODE=copy
WORKDIR /build
COPY deploy/image/build.lock deploy/image/requirements.lock ./
COPY docs/requirements.lock docs.lock
# every package has a hash: those that build, then those of the virtualenv, which only wheels may fill
RUN python -m venv tools \
    && tools/bin/pip install --quiet --require-hashes --requirement build.lock \
    && tools/bin/uv venv --quiet --no-config --no-managed-python --python "$(command -v python)" /opt/octollm \
    && tools/bin/uv pip install --quiet --no-config --python /opt/octollm/bin/python \
        --require-hashes --only-binary :all: --requirement requirements.lock
# Zensical, which makes the site that the API serves at /docs/guide
RUN python -m venv docs-tools \
    && tools/bin/uv pip install --quiet --no-config --python docs-tools/bin/python \
        --require-hashes --only-binary :all: --requirement docs.lock
COPY . src
# compiled here, because the root directory of a container is read-only
RUN docs-tools/bin/python src/scripts/docs-site src/api/guide \
    && tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheel ./src \
    && tools/bin/uv pip install --quiet --no-config --python /opt/octollm/bin/python --no-deps --offline wheel/*.whl \
    && tools/bin/uv pip check --quiet --no-config --python /opt/octollm/bin/python \
    && /opt/octollm/bin/python -m compileall -q -j 0 /opt/octollm/lib

FROM ${PYTHON_IMAGE}
# bubblewrap: the strong sandbox. tini: process 1, which forwards SIGTERM and collects what dead tools leave behind.
# No versions are pinned, because Debian removes a version when it publishes a security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 octollm \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/octollm --create-home --shell /usr/sbin/nologin octollm
COPY --from=build /opt/octollm /opt/octollm
COPY deploy/image/alive /usr/local/bin/octollm-alive
# a number, so that Kubernetes can see that it is not root (runAsNonRoot)
USER 10001:10001
WORKDIR /var/lib/octollm
ENV PATH=/opt/octollm/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/octollm \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OCTOLLM_ENV_FILE=none \
    OCTOLLM_HOME=/var/lib/octollm \
    ALIVE_FILE=/tmp/octollm-alive \
    BIND_HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["octollm-alive"]
ENTRYPOINT ["tini", "--"]
CMD ["octollm", "--help"]
