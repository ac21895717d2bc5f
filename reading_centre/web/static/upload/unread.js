/** A file that is no DICOM file, or one whose names cannot be removed here. */
export class UnreadError extends Error {}
