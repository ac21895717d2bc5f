"""Lesions followed over the visits of a subject."""
