# One image for the four services, the migration step and the command line.
FROM python:3.13-slim AS build
RUN python3 -m venv /opt/cloudward
ENV PATH=/opt/cloudward/bin:$PATH PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY requirements/install requirements/uv.txt requirements/image.txt requirements/
RUN requirements/install "$(command -v python3)" requirements/image.txt
COPY pyproject.toml README.md ./
COPY shared shared
COPY services services
COPY cli cli
COPY sandbox sandbox
# Containers have Postgres and NATS of their own; what only builds and installs stays behind.
RUN pip install -q --no-deps --no-build-isolation . \
 && pip uninstall -q -y hatchling editables uv pip

FROM python:3.13-slim
LABEL org.opencontainers.image.title=cloudward \
      org.opencontainers.image.description="Moves Confluence Server and Data Center to Confluence Cloud"
RUN mkdir -p /data /checkpoints && chown 10001:10001 /data /checkpoints
COPY --from=build /opt/cloudward /opt/cloudward
ENV PATH=/opt/cloudward/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 CLOUDWARD_DATA=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
CMD ["cloudward", "--help"]
