"""Sites, scanners, scans and reads, with an append-only audit trail."""
