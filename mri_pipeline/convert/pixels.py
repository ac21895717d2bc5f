"""A keyed digest of the voxels of a scan, by which the same images are recognised under another name."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pixels_key(data: NDArray[Any], secret: bytes) -> str:
    """Keyed digest of the slices of a converted volume, in any order.

    It is made from the converted volume. The key is therefore the same for classic and enhanced objects and for every
    lossless transfer syntax. It does not depend on patient, date and position in the headers.

    Parameters
    ----------
    data : array of shape (i, j, k)
        Slices along the last axis, as dcm2niix writes them.
    secret : bytes
        Of the trial.

    Returns
    -------
    str
        64 hexadecimal digits of HMAC-SHA256.

    Examples
    --------
    >>> volume = np.arange(24.0).reshape(2, 3, 4)
    >>> pixels_key(volume, b"secret") == pixels_key(volume[..., ::-1], b"secret") != pixels_key(volume, b"other")
    True
    """
    values = np.asarray(data, dtype="<f4")
    slices = sorted(hashlib.sha256(values[..., k].tobytes()).digest() for k in range(values.shape[-1]))
    text = b"".join([repr(values.shape).encode(), *slices])
    return hmac.new(secret, b"pixels|" + text, hashlib.sha256).hexdigest()
