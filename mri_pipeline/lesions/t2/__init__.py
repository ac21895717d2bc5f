"""T2 lesions of one visit and of all visits of a subject."""
