"""Nipype workflows and the command line."""
