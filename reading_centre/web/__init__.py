"""The web application: pages and JSON of the reading room, thin over the use cases."""
