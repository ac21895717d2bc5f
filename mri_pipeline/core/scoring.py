"""Constants of the scores of a mask against a reference.

Results of an analysis do not depend on them. They are therefore not part of `mri_pipeline.core.method.METHOD`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScoringMethod:
    """Rules by which a lesion counts as detected (`lesions.scoring.scores`).

    Source of all values but `covered`: Commowick et al., Sci Rep 2018;8:13650.

    Parameters
    ----------
    least_mm3 : float
        Smaller components do not count as true or false lesions.
    covered : float
        10 % rule: a lesion is detected if the other mask covers at least this fraction of its volume
        (docs/definitions.md, "How accuracy is scored").
    anima_alpha : float
        Anima's rule: more than this fraction of a lesion must be covered.
    anima_gamma, anima_beta : float
        In addition, the covering lesions are taken by descending overlap until they make up `anima_gamma` of the
        covered volume. None of them may have more than `anima_beta` of its volume outside all lesions.
    """

    least_mm3: float = 3.0
    covered: float = 0.1
    anima_alpha: float = 0.10
    anima_beta: float = 0.70
    anima_gamma: float = 0.65


SCORING = ScoringMethod()
"""The constants that the program uses."""
