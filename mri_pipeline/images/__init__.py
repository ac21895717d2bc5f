"""Bias, brain, normalisation, registration, resampling."""
