"""Qualification of an installation for a trial: installation (IQ), operation (OQ) and performance (PQ)."""
