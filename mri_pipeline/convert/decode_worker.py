"""Decodes compressed DICOM in a separate process with limits on memory and time.

`mri_pipeline.convert.decompress` runs it as ``python -m mri_pipeline.convert.decode_worker`` with a JSON request on
standard input. It writes one uncompressed file per input file.
"""

from __future__ import annotations

import json
import resource
import sys
import warnings

if __name__ == "__main__":
    # pydicom imports it to download test data, which this process never does
    sys.modules["requests"] = None  # type: ignore[assignment]

import pydicom

MEMORY_BYTES = 3 << 30
"""Address space of the process."""


def main() -> None:
    """Process one request."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (int(request["cpu_s"]), int(request["cpu_s"]) + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    for source, target in request["files"]:
        dataset = pydicom.dcmread(source, force=True)
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            dataset.decompress(generate_instance_uid=False)
        dataset.save_as(target, enforce_file_format=True)


if __name__ == "__main__":
    main()
