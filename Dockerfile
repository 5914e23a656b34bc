# An image with plg as its entry point. The flags that `docker run` needs are in the README.

FROM python:3.12-slim AS build
# python-pytun has no wheel: it is compiled here, and the compiler stays here.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY netplayground netplayground
RUN python -m venv /opt/plg \
    && /opt/plg/bin/pip install --no-cache-dir --disable-pip-version-check '.[capture]' \
    && /opt/plg/bin/python -m compileall -q /opt/plg

FROM python:3.12-slim
# What compiles the filters of `plg capture`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libpcap0.8 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/plg /opt/plg
ENV PATH=/opt/plg/bin:$PATH
WORKDIR /work
ENTRYPOINT ["plg"]
