"""Analysis of a trial, of a BIDS dataset or of single images, and comparison of its results."""
