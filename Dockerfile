# One image for every role: `api` (the default), `worker`, `sweep`, `migrate`, `doctor`.
# The base is a variable, so that a mirror or a digest can take its place: --build-arg PYTHON_TAG=3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python
ARG PYTHON_TAG=3.11-slim-bookworm

FROM ${PYTHON_IMAGE}:${PYTHON_TAG} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY locks/build.txt locks/runtime.txt locks/
RUN python -m venv /opt/build && /opt/build/bin/pip install --require-hashes -r locks/build.txt \
    && python -m venv /opt/venv && /opt/venv/bin/pip install --require-hashes -r locks/runtime.txt
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY migrations migrations
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/venv/bin/pip install --no-deps --no-index /tmp/wheel/*.whl \
    && /opt/venv/bin/pip uninstall --yes pip setuptools

FROM ${PYTHON_IMAGE}:${PYTHON_TAG}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="spatial-etl" \
    org.opencontainers.image.description="Files dropped into an object store become clean, versioned, traceable datasets." \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
# libexpat: the one library that GDAL's wheel takes from the system. Unpinned: the base image decides the release.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 spatial-etl \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin spatial-etl \
    && install --directory --owner 10001 --group 10001 /data
COPY --from=build /opt/venv /opt/venv
# Nothing is written outside /data (scratch of the runs) and /tmp: the root file system may be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    HOME=/tmp \
    SPATIAL_ETL_DATA_DIR=/data \
    SPATIAL_ETL_API__HOST=0.0.0.0
WORKDIR /
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# For the API. The other roles have `spatial-etl alive ROLE`: see docker-compose.yml.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('SPATIAL_ETL_API__PORT', 8000)}/health\", timeout=3)"]
ENTRYPOINT ["spatial-etl"]
CMD ["api"]
