# docker build -t eps .                            for CPUs
# docker build -t eps --build-arg DEVICE=cuda .    for NVIDIA GPUs: docker run --gpus all ...
# docker run --rm -v "$PWD:/work" eps doctor data=photos data.root=photos
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG DEVICE=cpu
ARG EXTRAS=app,demo,export,saliency,sweep,video
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/eps
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY eps eps
COPY conf conf
COPY stages stages
# PyTorch's own index has wheels without CUDA, a tenth as large; of equal versions pip prefers those
RUN case "$DEVICE" in \
      cpu) set -- --extra-index-url https://download.pytorch.org/whl/cpu ;; \
      cuda) set -- ;; \
      *) echo "DEVICE=$DEVICE: must be cpu or cuda" >&2; exit 2 ;; \
    esac; \
    /opt/eps/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt "$@" ".[$EXTRAS]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/eps /opt/eps
ENV PATH=/opt/eps/bin:$PATH
WORKDIR /work
ENTRYPOINT ["eps"]
CMD ["--help"]
