"""File formats: NIfTI, ITK transforms, results, the template and the learned parameters."""
