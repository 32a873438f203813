# syntax=docker/dockerfile:1
# One image for all kinds of processes: docs/how-to/run-in-containers.md. A container's command is a line of the Procfile.
#
# The base is a tag here, because its digest could not be looked up where this file was written. Pin it in your build:
#   docker buildx imagetools inspect python:3.12-slim-bookworm        # prints "Digest: sha256:..."
#   docker build --build-arg PYTHON_IMAGE=python:3.12-slim-bookworm@sha256:... -t octollm .
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY deploy/image/ deploy/image/
# every package has a hash: first those that build a wheel, then those of the virtualenv, which has no pip
RUN python -m venv /build \
    && /build/bin/pip install --quiet --no-cache-dir --require-hashes --requirement deploy/image/build.lock \
    && python -m venv --without-pip /opt/octollm \
    && /build/bin/pip --python /opt/octollm/bin/python install --quiet --no-cache-dir --no-compile \
        --require-hashes --only-binary :all: --requirement deploy/image/requirements.lock
COPY . .
# compiled here, because the root directory of a container is read-only
RUN /build/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
    && /build/bin/pip --python /opt/octollm/bin/python install --quiet --no-cache-dir --no-compile --no-deps \
        --no-index /dist/*.whl \
    && /opt/octollm/bin/python -m compileall -q -j 0 /opt/octollm/lib

FROM ${PYTHON_IMAGE}
# bubblewrap: the strong sandbox. tini: process 1, which forwards SIGTERM and collects what dead tools leave.
# Debian's security updates replace versions, so that a pinned one would soon be missing.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap tini \
    && rm -rf /var/lib/apt/lists/* \
    && mkdir -p /var/lib/octollm \
    && chown 10001:10001 /var/lib/octollm
COPY --from=build /opt/octollm /opt/octollm
# a number: Kubernetes can check that it is not root (runAsNonRoot)
USER 10001:10001
WORKDIR /var/lib/octollm
ENV PATH=/opt/octollm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OCTOLLM_ENV_FILE=none \
    OCTOLLM_HOME=/var/lib/octollm \
    BIND_HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json
VOLUME /var/lib/octollm
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/bin/tini", "--"]
CMD ["octollm", "--help"]
