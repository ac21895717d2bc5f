"""Predicted against reference masks."""
