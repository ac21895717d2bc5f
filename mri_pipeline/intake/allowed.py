"""The allow-list of de-identification. All other tags are removed, including all private tags.

No free text is kept (descriptions, comments, protocol and sequence names), and no identity of a person, institution or
device. Basis: DICOM PS3.15 Annex E, basic profile with the
retain-modified-dates option. The list is narrower than the profile.
"""

from typing import Final

IMAGE: Final = frozenset({
    "SOPClassUID", "Modality", "ImageType", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "SmallestImagePixelValue", "LargestImagePixelValue",
    "LossyImageCompression", "PixelPaddingValue", "WindowCenter", "WindowWidth", "PresentationLUTShape",
})  # fmt: skip
"""Pixel data and their description."""

PLACE: Final = frozenset({
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "SliceLocation", "PatientPosition", "InstanceNumber", "SeriesNumber", "AcquisitionNumber",
    "ImagesInAcquisition",
    "StackID", "InStackPositionNumber", "NumberOfTemporalPositions", "TemporalPositionIndex",
    "DimensionIndexValues", "FrameAcquisitionNumber", "AcquisitionMatrix", "InPlanePhaseEncodingDirection",
    "PercentPhaseFieldOfView", "PercentSampling", "ReconstructionDiameter", "VolumetricProperties",
})  # fmt: skip
"""Position, orientation, and the order of slices."""

PHYSICS: Final = frozenset({
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "MagneticFieldStrength", "ImagingFrequency",
    "ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType", "RepetitionTime", "EchoTime",
    "InversionTime", "FlipAngle", "NumberOfAverages", "EchoNumbers", "EchoTrainLength", "PixelBandwidth",
    "ImagedNucleus", "NumberOfPhaseEncodingSteps", "AngioFlag", "VariableFlipAngleFlag",
    "EffectiveEchoTime", "InversionTimes", "InversionRecovery", "EchoPlanarPulseSequence", "EchoPulseSequence",
    "TimeOfFlightContrast", "PhaseContrast", "SteadyStatePulseSequence", "SaturationRecovery",
    "SpectrallySelectedSuppression", "ResonantNucleus", "AcquisitionContrast", "ComplexImageComponent",
    "GeometryOfKSpaceTraversal", "FrameType",
})  # fmt: skip
"""Scanner and acquisition parameters."""

GROUPS: Final = frozenset({
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelMeasuresSequence",
    "PlaneOrientationSequence", "PlanePositionSequence", "MRTimingAndRelatedParametersSequence", "MREchoSequence",
    "MRModifierSequence", "PixelValueTransformationSequence", "FrameContentSequence", "MRImageFrameTypeSequence",
    "FrameVOILUTSequence", "MRFOVGeometrySequence",
})  # fmt: skip
"""Functional groups of enhanced objects. The same allow-list applies to their content."""

UIDS: Final = frozenset({
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
})  # fmt: skip
"""Replaced by keyed UIDs."""

MOMENTS: Final = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
)
"""Dates with their times. Both are shifted together, because a shift may pass midnight."""

KEPT: Final = IMAGE | PLACE | PHYSICS | GROUPS

CODE_STRINGS_ONLY: Final = frozenset(
    {"ImageType", "ScanOptions", "ScanningSequence", "SequenceVariant", "FrameType"}
)
"""Multi-valued code strings. Values that are not valid DICOM code strings are removed."""

VENDORS: Final = (
    ("SIEMENS", "Siemens"), ("GE MEDICAL", "GE MEDICAL SYSTEMS"), ("GE HEALTH", "GE HEALTHCARE"),
    ("PHILIPS", "Philips"), ("CANON", "Canon"), ("TOSHIBA", "TOSHIBA"), ("HITACHI", "HITACHI"),
    ("FUJI", "FUJIFILM"), ("UIH", "UIH"),
    ("UNITED IMAGING", "UIH"), ("ESAOTE", "Esaote"), ("BRUKER", "Bruker"), ("NEUSOFT", "Neusoft"),
)  # fmt: skip
"""Beginning of a manufacturer's name, and its normalised spelling. Other names are kept and searched for identities."""
