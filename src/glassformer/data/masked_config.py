"""What a masked language model's data are: a text, and which of its tokens are to be filled in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from glassformer.config import Config
from glassformer.data.config import DataConfig, TextConfig

Share = Annotated[float, Field(ge=0, le=1)]


class MaskingConfig(Config):
    """Which tokens a masked language model has to predict, and what it reads in their places.

    The defaults are BERT's (Devlin et al. 2019, §3.1): 15 % of the tokens are chosen; of the chosen, 80 % are replaced
    by [MASK], 10 % by a random token, and 10 % are left as they are.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.15
    """Share of the tokens that are chosen, each by itself (0.4 in Wettig et al. 2023, arXiv 2202.08005)."""
    mask: Share = 0.8
    """Of the chosen tokens, the share that is replaced by [MASK]; 1 masks them all."""
    random: Share = 0.1
    """Of the chosen tokens, the share that is replaced by a token drawn from the vocabulary, [MASK] excluded."""
    whole_words: bool = False
    """Choose words instead of tokens: all tokens of a word or none (a word is a run of letters, digits and _)."""

    @classmethod
    def subject(cls) -> str:
        return "data configuration"

    def complaints(self) -> Iterator[str]:
        if self.mask + self.random > 1 + 1e-9:
            yield (
                f"masking.mask={self.mask:g} and masking.random={self.random:g} are shares of the chosen tokens, and "
                f"together more than 1; the rest is left as it is: set masking.random to {1 - self.mask:g} or less."
            )
        if self.mask + self.random == 0:
            yield (
                "masking.mask=0 and masking.random=0 leave every token as it is: the model would only copy its input; "
                "set masking.mask above 0."
            )

    def describe(self) -> str:
        """The corruption in words, which belongs beside every loss that was measured under it.

        >>> MaskingConfig().describe()
        '15% of the tokens chosen: 80% masked, 10% random, 10% kept'
        """
        kept = max(0.0, 1 - self.mask - self.random)
        shares = [(self.mask, "masked"), (self.random, "random"), (kept, "kept")]
        what = "words" if self.whole_words else "tokens"
        listed = ", ".join(
            f"{share:.3g} {name}" if share < 0.01 else f"{share:.0%} {name}" for share, name in shares if share > 1e-9
        )
        return f"{self.share:.0%} of the {what} chosen: {listed}"


class MaskedConfig(TextConfig):
    """Text, tokenizer, split and masking of a masked language model."""

    families: ClassVar[tuple[str, ...]] = ("encoder",)
    learned: ClassVar[str] = "a text with masked tokens"

    task: Literal["masked-language-modeling"] = "masked-language-modeling"
    """What is learned from the text: to fill in tokens that are masked."""

    masking: MaskingConfig = MaskingConfig()

    @property
    def text(self) -> DataConfig:
        """The text alone: the same prepared tokens serve a language model."""
        own = {name: value for name, value in self.to_dict().items() if name not in ("task", "masking")}
        return DataConfig.build(own)
