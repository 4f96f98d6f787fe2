# The gateway as an image: docker build -t ai-gateway .
# Two stages on the same base, pinned by the digest of its index for all platforms; what renews it reads no variables, so
# that it stands here as it is. By hand: `docker buildx imagetools inspect python:3.12-slim-trixie`. Only the finished
# environment moves to the second stage.
FROM python:3.12-slim-trixie@sha256:57cd7c3a7a273101a6485ba99423ee568157882804b1124b4dd04266317710de AS base

FROM base AS build

# Set either to install through a mirror. They stay in the build's history: no credentials here.
ARG PIP_INDEX_URL
ARG UV_DEFAULT_INDEX
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never

WORKDIR /build
COPY scripts/uv.txt ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes -r uv.txt

# Dependencies first: this layer lasts until the lock file changes. Everything is pinned by hash.
COPY pyproject.toml uv.lock ./
RUN uv export --quiet --frozen --no-emit-project --no-default-groups --all-extras -o run.txt \
 && uv export --quiet --frozen --no-emit-project --only-group build -o build.txt \
 && uv venv --quiet --python 3.12 /opt/gateway \
 && uv pip install --quiet --python /opt/gateway --require-hashes -r run.txt \
 && uv venv --quiet --python 3.12 /opt/build \
 && uv pip install --quiet --python /opt/build --require-hashes -r build.txt

COPY README.md LICENSE ./
COPY src src
COPY generated generated
COPY docs docs
RUN /opt/build/bin/python -m hatchling build -t wheel -d dist \
 && uv pip install --quiet --python /opt/gateway --no-deps dist/*.whl

FROM base

# `make image` fills these in. /v1/version tells the commit and the date.
ARG BUILD_COMMIT
ARG BUILD_DATE
ARG BUILD_VERSION
ARG BUILD_SOURCE
ENV BUILD_COMMIT=${BUILD_COMMIT} BUILD_DATE=${BUILD_DATE}
LABEL org.opencontainers.image.title="Universal AI Gateway" \
  org.opencontainers.image.description="OpenAI's API in front of any LLM provider" \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${BUILD_VERSION}" \
  org.opencontainers.image.revision="${BUILD_COMMIT}" \
  org.opencontainers.image.created="${BUILD_DATE}" \
  org.opencontainers.image.source="${BUILD_SOURCE}" \
  org.opencontainers.image.base.name="python:3.12-slim-trixie"

# A container is reached from outside, so it listens on every address, and then the gateway does not start without
# keys: set ALLOWED_API_KEYS, or ALLOW_ANONYMOUS=true where something else decides who may call.
ENV SERVICE_HOST=0.0.0.0 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

COPY --from=build /opt/gateway /opt/gateway
# For `docker exec NAME ai-gateway reload`.
ENV PATH=/opt/gateway/bin:${PATH}
# A gateway.toml or .env is read from here when one is mounted.
WORKDIR /app
# All that the gateway writes is in this volume, so that the rest of the container can be read-only: `docker run
# --read-only`. It is lost with the container unless it has a name: `-v gateway-data:/var/lib/ai-gateway`.
ENV GATEWAY_DATA_DIR=/var/lib/ai-gateway XDG_CACHE_HOME=/var/lib/ai-gateway/cache
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin gateway \
 && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/ai-gateway
VOLUME /var/lib/ai-gateway
USER 10001:10001

EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
  CMD ["/opt/gateway/bin/python", "-c", "from ai_gateway.server.health_check import answers; raise SystemExit(not answers('/healthz'))"]

ENTRYPOINT ["/opt/gateway/bin/ai-gateway"]
CMD ["serve"]
