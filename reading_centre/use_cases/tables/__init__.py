"""Tables of a trial, their release and the export as DICOM."""
