"""A central MRI reading centre for multiple-sclerosis trials: the library. It knows no nipype."""

__version__ = "0.1.0"
