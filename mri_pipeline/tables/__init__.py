"""The blinded tables and their data dictionary."""
