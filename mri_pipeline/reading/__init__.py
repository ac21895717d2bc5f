"""Worklists for blinded readers, their decisions, and locked reads."""
