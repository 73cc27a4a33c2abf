# Serves the run folder that lies at /model; also trains: docker run … scrimp sweep /data …
#
#   docker build -t scrimp .                              for a CPU
#   docker build -t scrimp --build-arg TORCH=cu128 .      for an NVIDIA GPU
#   docker build -t scrimp --build-arg WITH="app onnx s3" --build-arg EXTRA=jupyterlab .

FROM python:3.12-slim AS build
# Which PyTorch: cpu, or a version of CUDA as PyTorch names it.
ARG TORCH=cpu
# Extras of Scrimp, and packages besides.
ARG WITH="app onnx s3"
ARG EXTRA=""
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir "uv==0.13.*"
WORKDIR /src
# What rarely changes comes first: the packages, at the versions that were tested.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv export --quiet --locked --no-dev --no-emit-project --no-hashes --all-extras --no-extra ffcv --output-file versions.txt
# WITH and EXTRA are lists of words, and are meant to be split into them.
# hadolint ignore=SC2046,SC2086
RUN uv venv /opt/scrimp \
    && uv pip install --no-cache --python /opt/scrimp/bin/python --torch-backend "$TORCH" --constraint versions.txt \
        --requirements pyproject.toml $(printf -- "--extra %s " $WITH) $EXTRA
COPY scrimp ./scrimp
COPY studies ./studies
RUN uv pip install --no-cache --python /opt/scrimp/bin/python --no-deps .

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 scrimp && mkdir /cache /work && chown scrimp /cache /work
COPY --from=build /opt/scrimp /opt/scrimp
ENV PATH=/opt/scrimp/bin:$PATH \
    SCRIMP_CACHE=/cache \
    TORCH_HOME=/cache/torch \
    PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=False
# By number, so that a cluster can see that it is not root.
USER 10001
WORKDIR /work
EXPOSE 7860
HEALTHCHECK --interval=15s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=2)"]
# Ctrl-C and docker stop let what was taken be answered.
STOPSIGNAL SIGINT
CMD ["scrimp", "serve", "/model", "--host", "0.0.0.0"]
