"""Steps of an analysis, composed of library functions, and the files that they write."""
