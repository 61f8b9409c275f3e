# docker build -t eps .                            for CPUs
# docker build -t eps --build-arg DEVICE=cuda .    for NVIDIA GPUs: docker run --gpus all ...
# docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" eps doctor data=photos data.root=photos
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
ARG DEVICE=cpu
ARG EXTRAS=app,demo,export,saliency,sweep,video
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends build-essential && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/eps
WORKDIR /source
COPY constraints.txt ./
# torch from one index alone: asked for besides PyPI's, one that does not answer would be passed over, and CUDA installed
RUN case "$DEVICE" in \
      cpu) set -- --no-deps --index-url https://download.pytorch.org/whl/cpu ;; \
      cuda) set -- ;; \
      *) echo "DEVICE=$DEVICE: must be cpu or cuda" >&2; exit 2 ;; \
    esac; \
    /opt/eps/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt "$@" torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY eps eps
COPY conf conf
COPY stages stages
RUN /opt/eps/bin/pip install --no-cache-dir --disable-pip-version-check -c constraints.txt ".[$EXTRAS]"

FROM python:${PYTHON}-slim
COPY --from=build /opt/eps /opt/eps
# a home for any user: weights that are downloaded, and matplotlib's cache
RUN install -d -m 1777 /home/eps /home/eps/.cache
ENV PATH=/opt/eps/bin:$PATH HOME=/home/eps
WORKDIR /work
# `docker stop` as Ctrl-C, which saves what is done: the first process of a container ignores SIGTERM
STOPSIGNAL SIGINT
ENTRYPOINT ["eps"]
CMD ["--help"]
