"""Nipype workflows and the command line."""

import os

# Nipype reads these when it is imported, and every module of this package may be the first to import it.
os.environ.setdefault("NIPYPE_NO_ET", "1")  # no call home
os.environ.setdefault("LOGNAME", "mri-pipeline")  # names crash files; unset in containers and on SLURM nodes
