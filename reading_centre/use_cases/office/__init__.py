"""Views of a running trial for data managers, auditors and quality-control staff."""
