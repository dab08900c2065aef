"""A corpus larger than the memory that it takes: prepare it, read batches from it, print peak memory and seconds.

    python benchmarks/large_corpus.py --gigabytes 2 --tokenizer characters

Writes the standard library's source over and over, each copy with its number in front of every line so that no two are
the same, until the file has the size asked for. Then a process of its own prepares it, draws training batches, reads
the validation split and reports its own peak resident memory, which counts pages of mapped files too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from glassformer.data.sources import open_source

STEPS, BATCH_SIZE, SEQ_LEN = 2000, 64, 256


def write_corpus(path: Path, size: int) -> None:
    """A text file of at least ``size`` bytes, by less than one line more."""
    text = "".join(open_source("python-stdlib").texts())
    with path.open("w", encoding="ascii", newline="") as file:
        written = copy = 0
        while written < size:
            for line in text.splitlines(keepends=True):
                written += file.write(f"{copy}: {line}")
                if written >= size:
                    break
            copy += 1


def measure(corpus: Path, cache: Path, tokenizer: str) -> dict[str, Any]:
    """Prepare and read, in this process; seconds, and bytes of peak resident memory after each stage."""
    from glassformer.data import DataConfig, prepare

    report: dict[str, Any] = {"imports_peak": peak_memory()}
    begun = time.perf_counter()
    data = prepare(DataConfig(source=str(corpus), tokenizer=tokenizer), cache=cache)  # type: ignore[arg-type]
    report |= {"prepare_seconds": time.perf_counter() - begun, "prepare_peak": peak_memory()}
    begun = time.perf_counter()
    for step in range(STEPS):
        data.batch(step, seed=0, batch_size=BATCH_SIZE, seq_len=SEQ_LEN)
    report["batch_microseconds"] = (time.perf_counter() - begun) / STEPS * 1e6
    begun = time.perf_counter()
    predicted = sum(batch.tokens for batch in data.validation_batches(batch_size=BATCH_SIZE, seq_len=SEQ_LEN))
    report |= {"validation_seconds": time.perf_counter() - begun, "read_peak": peak_memory()}
    assert predicted == len(data.validation) - 1
    return report | {"splits": data.manifest["splits"], "vocab_size": data.vocab_size}


def peak_memory() -> int:
    """Bytes of resident memory at the highest."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main() -> None:
    """Make the corpus, measure in a child, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=2.0, help="size of the text in 1e9 bytes (default 2)")
    parser.add_argument("--tokenizer", choices=["characters", "bytes", "bpe"], default="characters")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder; three to five times the size")
    parser.add_argument("--measure", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure, arguments.tokenizer)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        corpus, cache = Path(folder, "corpus.txt"), Path(folder, "cache")
        write_corpus(corpus, int(arguments.gigabytes * 1e9))
        command = [sys.executable, __file__, "--tokenizer", arguments.tokenizer, "--measure", str(corpus), str(cache)]
        report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        size = corpus.stat().st_size
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; n = 1")
    print(f"text           {size:,} bytes, tokenizer {arguments.tokenizer}, vocabulary {report['vocab_size']}")
    for split, counts in report["splits"].items():
        print(f"{split:<14} {counts['characters']:,} characters, {counts['tokens']:,} tokens")
    print(f"prepare        {report['prepare_seconds']:.1f} s, {size / report['prepare_seconds'] / 1e6:.0f} MB/s")
    print(f"batch          {report['batch_microseconds']:.0f} µs ({BATCH_SIZE} x {SEQ_LEN}, mean of {STEPS})")
    print(f"validation     {report['validation_seconds']:.1f} s for the whole split")
    for stage in ("imports", "prepare", "read"):
        print(f"peak memory    {report[stage + '_peak'] / 1e6:,.0f} MB after {stage}")


if __name__ == "__main__":
    main()
