# syntax=docker/dockerfile:1
# Two stages: packages are installed in the first, only the result is kept. No torch, no compiler.
ARG PYTHON=3.12-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY pyproject.toml README.md ./
COPY edge_cl ./edge_cl
COPY service ./service
RUN python -m venv /opt/edge_cl \
    && /opt/edge_cl/bin/pip install . \
    && /opt/edge_cl/bin/pip uninstall --yes pip \
    && /opt/edge_cl/bin/python -m compileall -q /opt/edge_cl/lib

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="edge_cl" \
      org.opencontainers.image.description="Learns images on the device, sample by sample, within a fixed memory budget" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 edge_cl \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin edge_cl \
    && install --directory --owner=10001 --group=10001 --mode=0750 /data
COPY --from=build /opt/edge_cl /opt/edge_cl
# Beyond loopback the service wants a key: give EDGE_CL_API_KEY or EDGE_CL_API_KEY_FILE.
ENV PATH=/opt/edge_cl/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    MALLOC_ARENA_MAX=2 \
    ORT_DISABLE_TELEMETRY=1 \
    EDGE_CL_HOST=0.0.0.0 \
    EDGE_CL_PORT=8080 \
    EDGE_CL_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 CMD ["edge-cl", "health"]
ENTRYPOINT ["edge-cl"]
CMD ["serve"]
