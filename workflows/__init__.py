"""Nipype workflows and the command line."""

import os

# Nipype reads these when it is imported, and every module of this package may be the first to import it.
os.environ.setdefault("NIPYPE_NO_ET", "1")  # no call home
os.environ.setdefault("LOGNAME", "mri-pipeline")  # names crash files; unset in containers and on SLURM nodes

# Numerical libraries read these when they are loaded. Subjects run beside one another: threads inside one take twice
# the CPU time (3.4 in place of 1.7 s for a brain), as they wait for each other between short loops.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
}
for _name, _value in ONE_THREAD.items():
    os.environ.setdefault(_name, _value)
