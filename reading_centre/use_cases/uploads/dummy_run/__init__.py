"""Dummy runs of a site: reception, judgement and report."""
