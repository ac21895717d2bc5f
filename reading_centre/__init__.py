"""The application: command line and web, above the Nipype workflows."""
