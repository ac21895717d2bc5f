"""Which software and settings made a result."""

from __future__ import annotations

import hashlib
import json
import platform
from importlib.metadata import version

from pydantic import BaseModel

from mri_pipeline import __version__
from mri_pipeline.core.protocol import DIGEST, LesionRules

_LIBRARIES = ("numpy", "scipy", "nibabel", "SimpleITK", "scikit-image", "pydicom", "dcm2niix", "nipype")


def software() -> dict[str, str]:
    """Versions of this project, Python and the libraries that can change a number."""
    return {
        "mri-pipeline": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def t2_segmenter(rules: LesionRules) -> tuple[str, str]:
    """Name and version of what finds T2 lesions.

    Examples
    --------
    >>> t2_segmenter(LesionRules())[0]
    'mri-pipeline'
    """
    return (rules.segmenter.name, rules.segmenter.version) if rules.segmenter else ("mri-pipeline", __version__)


def settings_digest(settings: BaseModel) -> str:
    """A short digest of a protocol or a part of it: equal settings, equal digest.

    Examples
    --------
    >>> from mri_pipeline.core.protocol import parse_protocol, protocol_text
    >>> len(settings_digest(parse_protocol(protocol_text())))
    12
    """
    text = json.dumps(settings.model_dump(mode="json", exclude_none=True, context=DIGEST), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
