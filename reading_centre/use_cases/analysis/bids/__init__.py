"""The analysis as a BIDS App."""
