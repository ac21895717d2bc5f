"""From an upload to checked and de-identified series."""
