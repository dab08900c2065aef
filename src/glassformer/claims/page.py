"""All claims and their recorded verdicts as one page of Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from glassformer.claims.claim import Claim
from glassformer.claims.claim_studies import MODEL, RECIPE
from glassformer.claims.verdicts import VerdictRecord
from glassformer.studies.variation import shown

HOW = {True: "holds", False: "does not hold", None: "not told apart"}

MEANING = """\
A verdict follows from numbers. Each claim is cut into parts; its file under `src/glassformer/claims/` states the
threshold of every part before anything is measured. **Supported**: every part holds. **Refuted**: none does.
**Depends**: some do and some do not. **Undecided**: an interval lies on both sides of a threshold, so this budget
cannot tell. Intervals are 95 % t intervals over seeds, paired by seed where they are of differences; below 3 seeds
there is none."""


def page(claims: Sequence[Claim], verdicts: Mapping[str, Sequence[VerdictRecord]]) -> str:
    """The page: a table, then a section for each claim.

    Args:
        verdicts: of each claim by its id, quick before full; none where it has not been decided.
    """
    return "\n".join(_lines(claims, verdicts)) + "\n"


def _lines(claims: Sequence[Claim], verdicts: Mapping[str, Sequence[VerdictRecord]]) -> Iterator[str]:
    yield "# Claims, put to the test"
    yield ""
    yield "Made by `glassformer claims --write` from recorded verdicts; not written by hand."
    yield ""
    yield MEANING
    yield ""
    yield (
        f"Models are trained as the preset `{MODEL}`, unless a claim's file says otherwise, with "
        + ", ".join(f"`{name}={shown(value)}`" for name, value in RECIPE.items())
        + "."
    )
    yield ""
    yield "| claim | as its source makes it | verdict |"
    yield "|---|---|---|"
    for claim in claims:
        told = ", ".join(
            f"**{verdict.verdict}** ({verdict.circumstances.budget})" for verdict in verdicts.get(claim.id, ())
        )
        yield f"| [{claim.id}](#{claim.id}) | {_cell(claim.statement)} | {told or 'not decided yet'} |"
    for claim in claims:
        yield from _section(claim, verdicts.get(claim.id, ()))


def _section(claim: Claim, verdicts: Sequence[VerdictRecord]) -> Iterator[str]:
    yield ""
    yield f"## {claim.id}"
    yield ""
    yield f"> {claim.statement}"
    yield ""
    yield f"From {claim.source}. Decided by ({claim.kind}): {claim.decided_by}"
    for verdict in verdicts:
        yield ""
        yield f"### {claim.id}, {verdict.circumstances.budget}: {verdict.verdict}"
        yield ""
        yield verdict.sentence
        yield ""
        yield verdict.condition
        yield ""
        for part, holds in verdict.parts.items():
            yield f"- {part}: **{HOW[holds]}**"
        yield ""
        yield "| measured | |"
        yield "|---|---|"
        for name, measurement in verdict.numbers.items():
            yield f"| {_cell(name)} | {_cell(str(measurement))} |"
        yield ""
        yield _circumstances(verdict)


def _circumstances(verdict: VerdictRecord) -> str:
    about = verdict.circumstances
    spent = [f"{about.seeds} seed{'s' * (about.seeds != 1)}"]
    spent += [f"{about.steps:,} steps"] if about.steps else []
    spent += [f"levels {', '.join(map(str, about.levels))}"] if about.levels else []
    spent += [f"{about.runs} runs, {about.reused} of them made before"] if about.runs else []
    spent += [f"data {about.data}"] if about.data else []
    studies = ", ".join(f"`{Path(path).name}`" for path in verdict.evidence)
    evidence = f" Evidence: the studies {studies}." if studies else ""
    command = _without_folders(about.command)
    return (
        f"`{command}`, {about.date}: {'; '.join(spent)}; {about.seconds:,.1f} s on {about.machine}; "
        f"glassformer {about.glassformer}.{evidence}"
    )


def _without_folders(command: str) -> str:
    """A command line with absolute paths cut to their last part: where a machine keeps its files says nothing here."""
    words = shlex.split(command)
    return shlex.join(Path(word).name if Path(word).is_absolute() else word for word in words)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
