"""The few public files that are fetched on first use, each with the SHA-256 it must have."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from glassformer.errors import DataError
from glassformer.places import cache_folder, provided_data_folder

TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class PublicFile:
    """A file, where the public finds it, and where it stands below ``$GLASSFORMER_DATA`` and the cache."""

    name: str
    url: str
    sha256: str


TINY_SHAKESPEARE = PublicFile(
    "tinyshakespeare/input.txt",
    "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
)
GPT2_ENCODER = PublicFile(
    "gpt2-bpe/encoder.json",
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/encoder.json",
    "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
)
GPT2_MERGES = PublicFile(
    "gpt2-bpe/vocab.bpe",
    "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe",
    "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
)
_MULTI30K_HOME = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
MULTI30K = {
    name: PublicFile(f"multi30k/{name}.gz", f"{_MULTI30K_HOME}/{name}.gz", sha256)
    for name, sha256 in {
        "train.en": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
        "train.de": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
        "val.en": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
        "val.de": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
        "test_2016_flickr.en": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
        "test_2016_flickr.de": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
    }.items()
}
"""The English and German captions of Multi30k's task 1 (Elliott et al., 2016), by split and language."""


def obtain(file: PublicFile) -> Path:
    """The file on this machine: from ``$GLASSFORMER_DATA``, from the cache, or downloaded into the cache.

    Its SHA-256 is checked each time. Raises :class:`DataError` if a provided file is another one, or if the
    download fails; the message then says where to put the file by hand.
    """
    provided = provided_data_folder()
    if provided is not None and (here := provided / file.name).is_file():
        if sha256_of(here) != file.sha256:
            raise DataError(
                f"{str(here)!r} is not the published file: its SHA-256 is {sha256_of(here)}, expected {file.sha256}. "
                f"Replace it with the one from {file.url}, or unset GLASSFORMER_DATA to have it downloaded."
            )
        return here
    cached = cache_folder() / "downloads" / file.name
    if cached.is_file() and sha256_of(cached) == file.sha256:
        return cached
    return _download(file, cached)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(file: PublicFile, target: Path) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(
            file.url,
            known_hash=f"sha256:{file.sha256}",
            fname=target.name,
            path=target.parent,
            downloader=pooch.HTTPDownloader(
                timeout=TIMEOUT_SECONDS, stream=False
            ),  # stream=True leaks the socket of a 404,
        )
    except (OSError, ValueError) as error:
        changed = type(error) is ValueError
        why = "the file is not the published one" if changed else f"{type(error).__name__}: {error}"
        raise DataError(
            f"{file.url} cannot be downloaded ({why}). Try again when the network is there, or put the file "
            f"(SHA-256 {file.sha256[:12]}…) at {str(target)!r} or in $GLASSFORMER_DATA as {file.name!r}."
        ) from error
    return target
