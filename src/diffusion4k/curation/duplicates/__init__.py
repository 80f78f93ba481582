"""Exact and near-duplicates: fingerprints, a search among hashes, groups, and the split.

fingerprint(pixels) -> Fingerprint       per picture, a few KiB
find_duplicates(fingerprints) -> Groups  near hashes suggest pairs, thumbnails decide
kept(groups.labels, ...)                 one picture of each group
split(names, groups.labels, ...)         train and eval, a group on one side
"""

from diffusion4k.curation.duplicates.fingerprint import Fingerprint, fingerprint, pixel_hash
from diffusion4k.curation.duplicates.groups import Groups, Link, find_duplicates, kept
from diffusion4k.curation.duplicates.hamming import Pairs, near_pairs
from diffusion4k.curation.duplicates.split import split

__all__ = [
    "Fingerprint",
    "Groups",
    "Link",
    "Pairs",
    "find_duplicates",
    "fingerprint",
    "kept",
    "near_pairs",
    "pixel_hash",
    "split",
]
