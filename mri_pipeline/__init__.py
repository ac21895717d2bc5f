"""A central MRI reading centre for multiple-sclerosis trials: the library. It does not import nipype."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mri-pipeline")  # of the installed package: setuptools-scm derives it from the git tag
except PackageNotFoundError:
    __version__ = "0+unknown"  # run from a source tree that is not installed
