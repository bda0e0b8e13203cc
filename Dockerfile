# One image for every role: `docker build --tag aftercall .`, then `docker run aftercall webhook`.
# A release names the base by digest: --build-arg PYTHON=python:3.13-slim-trixie@sha256:…
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
# What installs stays in .tools, and what runs has neither pip nor a compiler in it.
RUN python3 -m venv .tools && python3 -m venv --without-pip /opt/aftercall
COPY requirements.lock ./
RUN .tools/bin/pip --python /opt/aftercall/bin/python install \
        --require-hashes --only-binary :all: --requirement requirements.lock
COPY requirements-dev.lock ./
# The build backend alone, of all that is locked for development.
RUN sed -n '/^uv-build==/,/[^\\]$/p' requirements-dev.lock >backend.lock \
    && .tools/bin/pip install --require-hashes --only-binary :all: --requirement backend.lock
COPY pyproject.toml README.md LICENSE ./
COPY consumers consumers
COPY worker worker
RUN PATH="/build/.tools/bin:$PATH" .tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && .tools/bin/pip --python /opt/aftercall/bin/python install --no-deps dist/*.whl

FROM ${PYTHON}
# With a read-only root nothing can be compiled later on, and the base comes without the compiled standard library.
RUN python3 -c 'import compileall, sysconfig as s; compileall.compile_dir(s.get_path("stdlib"), quiet=2)' \
    && install --directory --owner=65532 --group=65532 /var/lib/aftercall
COPY --from=build /opt/aftercall /opt/aftercall
COPY docker/healthcheck.py /opt/aftercall/
ENV PATH=/opt/aftercall/bin:$PATH HOME=/var/lib/aftercall PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The spool, and SQLite where it is used, lie under the working directory; nothing else is written.
WORKDIR /var/lib/aftercall
VOLUME /var/lib/aftercall
USER 65532:65532
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s \
    CMD ["/opt/aftercall/bin/python", "-I", "/opt/aftercall/healthcheck.py"]
ENTRYPOINT ["aftercall"]
CMD ["--help"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="aftercall" \
      org.opencontainers.image.description="Every voice call that ended on Vapi reaches every subscriber, or lies in a named place with the reason." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
