"""Gadolinium-enhancing lesions of one visit."""
