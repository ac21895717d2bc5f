"""The digital reference trial: known lesions in known places, written as real DICOM."""
