"""Readers' masks under the definitions of the counted lesions: check, comparison and agreement."""
