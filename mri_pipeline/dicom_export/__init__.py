"""Confirmed lesions as DICOM: segmentations and structured reports."""
