# The reading centre as a container: pinned dependencies, an unprivileged user, no source tree.
#   docker build --build-arg VERSION=0.3.0 -t mri-pipeline .
#   docker run --rm -v /data/trial:/trial mri-pipeline status /trial
FROM python:3.11-slim-bookworm AS build

# Version of the package: the image is built without the repository, from whose tags it comes elsewhere.
ARG VERSION=
COPY . /source
RUN SETUPTOOLS_SCM_PRETEND_VERSION=$VERSION pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source


FROM python:3.11-slim-bookworm

# LOGNAME names crash files and is unset in containers; one thread per process, the work is spread over subjects.
ENV LOGNAME=reader \
    PYTHONUNBUFFERED=1 \
    MPLBACKEND=Agg \
    MPLCONFIGDIR=/tmp/matplotlib \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1 \
    PATH=/opt/venv/bin:$PATH

COPY constraints.txt /opt/
COPY --from=build /wheels /opt/wheels
RUN python -m venv /opt/venv \
 && pip install --no-cache-dir --constraint /opt/constraints.txt "$(echo /opt/wheels/*.whl)[postgresql]" \
 && mri-pipeline --version \
 && useradd --create-home --uid 10001 reader

USER reader
WORKDIR /home/reader
ENTRYPOINT ["mri-pipeline"]
CMD ["--help"]
