"""De-identified series become BIDS NIfTI."""
