"""Voxels whose FLAIR signal changed between two visits."""
