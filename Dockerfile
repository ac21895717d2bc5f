# The reading centre as a container: the same install path as the Makefile, an unprivileged user.
#   docker build -t mri-pipeline .
#   docker run --rm -v /data/trial:/trial mri-pipeline status /trial
FROM python:3.11-slim-bookworm

RUN apt-get update \
 && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*

# LOGNAME names crash files and is unset in containers; one thread per process, the work is spread over subjects.
ENV LOGNAME=reader \
    PYTHONUNBUFFERED=1 \
    MPLBACKEND=Agg \
    MPLCONFIGDIR=/tmp/matplotlib \
    OMP_NUM_THREADS=1 \
    OPENBLAS_NUM_THREADS=1 \
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS=1

WORKDIR /opt/mri-pipeline
COPY . .
RUN make install VENV=/opt/venv EXTRAS= \
 && useradd --create-home --uid 10001 reader

ENV PATH=/opt/venv/bin:$PATH
USER reader
WORKDIR /home/reader
ENTRYPOINT ["mri-pipeline"]
CMD ["--help"]
