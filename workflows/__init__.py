"""Nipype workflows of a subject and of a batch."""

import os

# Nipype reads these variables at import, and any module of this package may import it first.
os.environ.setdefault("NIPYPE_NO_ET", "1")  # no usage tracking
os.environ.setdefault(
    "LOGNAME", "mri-pipeline"
)  # part of the names of crash files; not set in containers and on SLURM nodes

# Numerical libraries read these variables at import. Subjects run in parallel. Threads within a subject take
# twice the CPU time (3.4 instead of 1.7 s for a brain mask), because they wait for each other between short loops.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
for _name, _value in ONE_THREAD.items():
    os.environ.setdefault(_name, _value)
