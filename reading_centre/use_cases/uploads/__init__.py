"""Uploads of a site: dummy runs and visits, from the received files to the accepted scan."""
