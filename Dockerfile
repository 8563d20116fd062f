# The service in one image. docs/deploy.md says how to run it.
# The first stage builds an environment in /opt/vyrox; the second takes that and nothing else.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.txt requirements-otel.txt requirements-sigma.txt ./
# Optional parts, as `--build-arg EXTRAS="otel sigma"`.
ARG EXTRAS=""
# The lock file is complete and has hashes, so pip resolves nothing.
RUN python3 -m venv /opt/vyrox \
    && /opt/vyrox/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes -r requirements.txt \
    && for extra in $EXTRAS; do \
        /opt/vyrox/bin/pip install --quiet --no-cache-dir --no-deps --require-hashes \
            -r "requirements-$extra.txt" || exit 1; \
    done
COPY pyproject.toml README.md LICENSE ./
COPY vyrox vyrox
# What only builds is not part of the image, so nothing in it installs software.
RUN /opt/vyrox/bin/pip install --quiet --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/vyrox/bin/pip uninstall --quiet --yes hatchling editables pip \
    && /opt/vyrox/bin/python -m compileall -q /opt/vyrox/lib

FROM python:3.13-slim
COPY --from=build /opt/vyrox /opt/vyrox
ENV PATH=/opt/vyrox/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VYROX_DATA_DIR=/data
# A number, so that Kubernetes can check `runAsNonRoot`.
RUN mkdir -m 0700 /data && chown 10001:10001 /data
USER 10001:10001
VOLUME /data
# The public listener and the console. The private one stays on 127.0.0.1.
EXPOSE 8001 8002
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "vyrox", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m", "vyrox"]
CMD ["serve"]
