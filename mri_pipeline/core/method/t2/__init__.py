"""Constants of T2 lesion segmentation."""
