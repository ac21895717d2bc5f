"""Ingest of visits, one by one and in a batch."""
