"""Is this scan good enough? Compliance, measures, acceptance, report."""
