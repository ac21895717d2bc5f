"""Blinding, worklists, decisions and locking."""
