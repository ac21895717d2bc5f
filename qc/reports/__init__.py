"""HTML reports: dummy run, subject, evaluation."""
