"""Quality control: protocol compliance, image quality measures, acceptance, registration, reports."""
