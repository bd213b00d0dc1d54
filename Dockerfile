# The operator's image. `make image` builds it here without a container daemon, on a base of Debian's packages;
# .github/workflows/release.yaml builds and publishes it on the base below.
#
# The digest is the multi-platform index of Python 3.11.16 on Debian 12 that Docker's official images published on
# 2026-09-19 (docker-library/repo-info, repos/python/remote/3.11-slim-bookworm.md); Dependabot renews it.
FROM docker.io/library/python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base

FROM base AS build
# uv never brings a Python of its own: the last stage has the same base, so the environment finds its interpreter at
# the same path. Both installers trust the system's certificates, which a build behind a proxy of its own can mount.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    UV_SYSTEM_CERTS=1 \
    UV_PROJECT_ENVIRONMENT=/opt/pertoken \
    UV_PYTHON_DOWNLOADS=never \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1
WORKDIR /src
COPY sandbox/tools/image/uv.txt ./
RUN python3 -m venv /opt/uv \
    && /opt/uv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement uv.txt
# Dependencies first: they change less often than the operator, and a builder keeps their layer.
COPY pyproject.toml uv.lock ./
COPY bench/pyproject.toml bench/
COPY sandbox/pyproject.toml sandbox/
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra scaler --no-install-project
COPY README.md LICENSE ./
COPY operator operator
RUN /opt/uv/bin/uv sync --frozen --no-dev --extra scaler --no-editable && rm -f /opt/pertoken/.lock

FROM base
# A name for the number: libraries that ask who runs them get an answer.
RUN groupadd --gid 65532 pertoken \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin pertoken
COPY --from=build /opt/pertoken /opt/pertoken
# The chart makes the root file system read-only: nothing is written outside /tmp, bytecode was compiled above.
ENV PATH=/opt/pertoken/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="pertoken" \
      org.opencontainers.image.description="A Kubernetes operator that holds the cost of LLM tokens under latency objectives" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.source="https://github.com/pertoken/pertoken" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080 6000
ENTRYPOINT ["pertoken"]
CMD ["run"]
