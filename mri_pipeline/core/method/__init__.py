"""The constants of the method: one frozen tree, part of every settings digest.

A trial may change `mri_pipeline.core.protocol.LesionRules` in ``trial.toml``. The constants here are the same
for every trial.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mri_pipeline.core.method.black_holes import BlackHoleSettings
from mri_pipeline.core.method.brain import BrainSettings, SkullStripped, TemplateFit
from mri_pipeline.core.method.gel import GelEvidenceMethod, GelNodeRanges, GelNodes, GelProbability, GelSettings
from mri_pipeline.core.method.intensities import BiasSettings, EnhancementCheckMethod, NormaliseMethod
from mri_pipeline.core.method.registration import (
    AgreementMethod,
    CoverageMethod,
    DuplicateMethod,
    GridMethod,
    JointDensityMethod,
    MatchingMethod,
    MutualInformationMethod,
    RegisterSettings,
    RegistrationFlags,
    ResampleMethod,
    SamplingMethod,
)
from mri_pipeline.core.method.t2.basins import T2Basins
from mri_pipeline.core.method.t2.segmentation import (
    ExternalMask,
    LocalContrastMethod,
    T2Border,
    T2Evidence,
    T2Fluid,
    T2Settings,
    T2Symmetry,
)
from mri_pipeline.core.method.t2.visits import T2Appearing, T2Visits
from mri_pipeline.core.method.tissue import RegionsMethod, TissueExtent, TissueSettings
from mri_pipeline.core.method.tracking import ChangeMethod, TrackingMethod


@dataclass(frozen=True)
class Method:
    """All constants of the method, grouped by the step that uses them.

    Parameters
    ----------
    t2, t2_evidence, t2_visits, t2_appearing, t2_fluid, t2_symmetry, t2_border, t2_basins, local_contrast
        Segmentation of T2 lesions.
    external : ExternalMask
        T2 masks of an external segmenter.
    gel, gel_evidence, gel_nodes, gel_node_ranges, gel_probability
        Detection of enhancing lesions.
    black_holes : BlackHoleSettings
    registration, sampling, matching, joint_density, agreement, mutual_information, registration_flags
        Registration of scans and its quality.
    resample : ResampleMethod
        Resampling of scans.
    duplicates : DuplicateMethod
        Detection of duplicate scans.
    coverage : CoverageMethod
        Share of the brain that a scan must show.
    bias : BiasSettings
        Bias field correction.
    brain, template_fit, skull_stripped
        Skull-stripping.
    tissue, tissue_extent, regions
        Tissue and location maps.
    change : ChangeMethod
        Changes of T2 lesions between two visits.
    tracking : TrackingMethod
        Identity of lesions over visits.
    normalise : NormaliseMethod
        Intensity normalisation.
    enhancement_check : EnhancementCheckMethod
        Comparison of the T1 before and after contrast at intake.
    grid : GridMethod
        Grid of the subject's space.
    """

    t2: T2Settings = field(default_factory=T2Settings)
    gel: GelSettings = field(default_factory=GelSettings)
    black_holes: BlackHoleSettings = field(default_factory=BlackHoleSettings)
    registration: RegisterSettings = field(default_factory=RegisterSettings)
    bias: BiasSettings = field(default_factory=BiasSettings)
    brain: BrainSettings = field(default_factory=BrainSettings)
    template_fit: TemplateFit = field(default_factory=TemplateFit)
    skull_stripped: SkullStripped = field(default_factory=SkullStripped)
    tissue: TissueSettings = field(default_factory=TissueSettings)
    change: ChangeMethod = field(default_factory=ChangeMethod)
    tracking: TrackingMethod = field(default_factory=TrackingMethod)
    t2_evidence: T2Evidence = field(default_factory=T2Evidence)
    local_contrast: LocalContrastMethod = field(default_factory=LocalContrastMethod)
    t2_visits: T2Visits = field(default_factory=T2Visits)
    t2_appearing: T2Appearing = field(default_factory=T2Appearing)
    t2_fluid: T2Fluid = field(default_factory=T2Fluid)
    t2_symmetry: T2Symmetry = field(default_factory=T2Symmetry)
    t2_border: T2Border = field(default_factory=T2Border)
    t2_basins: T2Basins = field(default_factory=T2Basins)
    external: ExternalMask = field(default_factory=ExternalMask)
    gel_evidence: GelEvidenceMethod = field(default_factory=GelEvidenceMethod)
    gel_nodes: GelNodes = field(default_factory=GelNodes)
    gel_node_ranges: GelNodeRanges = field(default_factory=GelNodeRanges)
    gel_probability: GelProbability = field(default_factory=GelProbability)
    regions: RegionsMethod = field(default_factory=RegionsMethod)
    normalise: NormaliseMethod = field(default_factory=NormaliseMethod)
    enhancement_check: EnhancementCheckMethod = field(default_factory=EnhancementCheckMethod)
    tissue_extent: TissueExtent = field(default_factory=TissueExtent)
    grid: GridMethod = field(default_factory=GridMethod)
    sampling: SamplingMethod = field(default_factory=SamplingMethod)
    matching: MatchingMethod = field(default_factory=MatchingMethod)
    joint_density: JointDensityMethod = field(default_factory=JointDensityMethod)
    agreement: AgreementMethod = field(default_factory=AgreementMethod)
    mutual_information: MutualInformationMethod = field(default_factory=MutualInformationMethod)
    registration_flags: RegistrationFlags = field(default_factory=RegistrationFlags)
    resample: ResampleMethod = field(default_factory=ResampleMethod)
    duplicates: DuplicateMethod = field(default_factory=DuplicateMethod)
    coverage: CoverageMethod = field(default_factory=CoverageMethod)


METHOD = Method()
"""The constants that the program uses."""
