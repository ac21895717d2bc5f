"""One module per layout of the registry. The revision is the number of the layout."""
