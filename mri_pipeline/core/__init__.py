"""Shared types: space, visits, records, protocol, paths, errors and file formats."""
