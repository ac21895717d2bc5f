"""The slices of a scan against their neighbours."""
