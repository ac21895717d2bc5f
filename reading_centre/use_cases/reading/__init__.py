"""Reads: worklists, the reading room, comparison, adjudication, signature and lock."""
