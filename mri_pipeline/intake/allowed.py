"""The tags that survive de-identification, by what they are for. Everything else is dropped, private tags always.

No free text is kept (descriptions, comments, protocol and sequence names), no identity of a person, institution or
device. Basis: DICOM PS3.15 Annex E, basic profile with retained modified dates; narrower than the profile.
"""

from typing import Final

IMAGE: Final = frozenset({
    "SOPClassUID", "Modality", "ImageType", "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "SmallestImagePixelValue", "LargestImagePixelValue",
    "LossyImageCompression", "PixelPaddingValue", "WindowCenter", "WindowWidth", "PresentationLUTShape",
})  # fmt: skip
"""The image itself."""

PLACE: Final = frozenset({
    "PixelSpacing", "SliceThickness", "SpacingBetweenSlices", "ImagePositionPatient", "ImageOrientationPatient",
    "SliceLocation", "PatientPosition", "InstanceNumber", "SeriesNumber", "AcquisitionNumber",
    "ImagesInAcquisition",
    "StackID", "InStackPositionNumber", "NumberOfTemporalPositions", "TemporalPositionIndex",
    "DimensionIndexValues", "FrameAcquisitionNumber", "AcquisitionMatrix", "InPlanePhaseEncodingDirection",
    "PercentPhaseFieldOfView", "PercentSampling", "ReconstructionDiameter", "VolumetricProperties",
})  # fmt: skip
"""Where it lies and in which order its slices come."""

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
"""How it was made."""

GROUPS: Final = frozenset({
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelMeasuresSequence",
    "PlaneOrientationSequence", "PlanePositionSequence", "MRTimingAndRelatedParametersSequence", "MREchoSequence",
    "MRModifierSequence", "PixelValueTransformationSequence", "FrameContentSequence", "MRImageFrameTypeSequence",
    "FrameVOILUTSequence",
})  # fmt: skip
"""Functional groups of enhanced objects; the same list rules inside them."""

UIDS: Final = frozenset({
    "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
})  # fmt: skip
"""Replaced by keyed ones."""

MOMENTS: Final = (
    ("StudyDate", "StudyTime"),
    ("SeriesDate", "SeriesTime"),
    ("AcquisitionDate", "AcquisitionTime"),
    ("ContentDate", "ContentTime"),
)
"""Dates with their times; moved together, so that one may pass midnight."""

KEPT: Final = IMAGE | PLACE | PHYSICS | GROUPS

CODE_STRINGS_ONLY: Final = frozenset(
    {"ImageType", "ScanOptions", "ScanningSequence", "SequenceVariant", "FrameType"}
)
"""Multi-valued code strings: parts that are no DICOM code string are dropped."""

VENDORS: Final = (
    ("SIEMENS", "Siemens"), ("GE MEDICAL", "GE MEDICAL SYSTEMS"), ("GE HEALTH", "GE HEALTHCARE"),
    ("PHILIPS", "Philips"), ("CANON", "Canon"), ("TOSHIBA", "TOSHIBA"), ("HITACHI", "HITACHI"),
    ("FUJI", "FUJIFILM"), ("UIH", "UIH"),
    ("UNITED IMAGING", "UIH"), ("ESAOTE", "Esaote"), ("BRUKER", "Bruker"), ("NEUSOFT", "Neusoft"),
)  # fmt: skip
"""Makers by how their name begins, and how it is written afterwards; another name is kept and scanned like
any text."""
