"""Thin Nipype interfaces: load, call one library function, save."""
