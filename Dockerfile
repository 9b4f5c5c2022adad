# syntax=docker/dockerfile:1
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/tollway
COPY requirements.lock ./
# Wheels only: there is no compiler here, and a build would not be what the hashes name.
RUN /opt/tollway/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY policies policies
COPY facilitator facilitator
RUN /opt/tollway/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
COPY --from=build /opt/tollway /opt/tollway
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tollway \
    && install -d -o 10001 -g 10001 -m 0700 /data
ENV PATH=/opt/tollway/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The root file system may be read-only; /data holds the embedded store, /tmp is scratch.
USER 10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8402
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["tollway", "healthcheck", "-c", "/etc/tollway/gateway.yaml"]
ENTRYPOINT ["tollway"]
CMD ["serve", "-c", "/etc/tollway/gateway.yaml"]
