"""An upload becomes safe, checked, de-identified series."""
