"""Tokenizers between a translator's run and a Marian folder of Hugging Face.

*In:* an OPUS-MT folder has a SentencePiece model for each language (``source.spm``, ``target.spm``), which cut a
sentence into pieces, and one vocabulary of pieces for both (``vocab.json``), or two (``target_vocab.json`` besides).

*Out:* such tokenizers become the same files again. Those learned here become a ``tokenizer.json``, which
``AutoTokenizer`` reads, in the folder itself: the joint one, or the source's, and then the target's lies in the folder
``target_tokenizer``. The end token is added to every sentence, as the model was trained. A word vocabulary takes
sentences that are cut into words and symbols already (:class:`~glassformer.data.sentence_tokenizers.WordTokenizer`),
since these files cannot say how. What glassformer reads again lies in ``glassformer-tokenizer``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from glassformer.data.pair_tokenizer import PairTokenizer
from glassformer.data.sentence_tokenizer import SentenceTokenizer
from glassformer.data.tokenizer import OWN_FOLDER, utf8
from glassformer.data.word_tokenizers import WordTokenizer
from glassformer.errors import DataError, DependencyError
from glassformer.untrusted import TOKENIZER_LIMIT, read_bytes, read_json

if TYPE_CHECKING:
    import tokenizers

SOURCE_MODEL, TARGET_MODEL = "source.spm", "target.spm"
VOCABULARY, TARGET_VOCABULARY = "vocab.json", "target_vocab.json"
TARGET_FOLDER = "target_tokenizer"
PAD, UNKNOWN, END = "<pad>", "<unk>", "</s>"
MARK = "▁"  # a space, in a piece
SPACES = r"[\s\x1c-\x1f\x85]+"  # what Python takes for white space


# --- in -------------------------------------------------------------------------------------------------------------


class MarianSentenceTokenizer(SentenceTokenizer):
    """One language of an OPUS-MT model: SentencePiece cuts, the vocabulary numbers.

    A translation starts with the pad. A code of the target language at the head of a sentence (``>>fra<<``) is one
    token.

    Args:
        vocabulary: the pieces by id.
        model: the content of the ``.spm`` file.

    Raises:
        DataError: the vocabulary lacks a special token, or the model is damaged.
        DependencyError: SentencePiece is not installed.
    """

    kind = "marian"

    def __init__(self, vocabulary: Sequence[str], model: bytes) -> None:
        missing = [token for token in (PAD, UNKNOWN, END) if token not in vocabulary]
        if missing:
            raise DataError(f"The Marian vocabulary has no {' and no '.join(missing)}; each is needed.")
        self.pad_id, self.unknown_id, self.end_id = (vocabulary.index(token) for token in (PAD, UNKNOWN, END))
        self.start_id = self.pad_id
        super().__init__(vocabulary)
        self.model = model
        self._processor = _processor(model)

    def encode(self, text: str) -> list[int]:
        """The ids of the pieces; a piece that the vocabulary lacks is unknown."""
        utf8(text)  # raises for half surrogate pairs
        code, text = _language_code(text)
        pieces = [code] * bool(code) + self._processor.encode(text, out_type=str)
        return [self.id_of.get(piece, self.unknown_id) for piece in pieces]

    def join(self, tokens: Sequence[str]) -> str:
        """The text as SentencePiece puts it together, ``<unk>`` and a space where a token is unknown."""
        text, run = "", []
        for token in [*tokens, None]:
            if token is not None and token != UNKNOWN:
                run.append(token)
                continue
            text += self._processor.decode_pieces(run) + (f"{token} " if token else "")
            run = []
        return text.replace(MARK, " ").strip()

    def to_dict(self) -> dict[str, Any]:
        """Vocabulary and model; the latter in base 64."""
        return super().to_dict() | {"model": base64.b64encode(self.model).decode("ascii")}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        return cls(tree["vocabulary"], base64.b64decode(tree["model"], validate=True))


def load_marian_tokenizers(folder: Path) -> PairTokenizer:
    """The two tokenizers of an OPUS-MT folder.

    Raises:
        DataError: a file is missing or damaged.
        DependencyError: SentencePiece is not installed.
    """
    needed = (SOURCE_MODEL, TARGET_MODEL, VOCABULARY)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{folder} holds no Marian tokenizers: {', '.join(missing)} missing. An OPUS-MT folder has "
            f"{', '.join(needed)}; put them beside the model."
        )
    vocabulary = _read_vocabulary(folder / VOCABULARY)
    own = (folder / TARGET_VOCABULARY).is_file()
    target = _read_vocabulary(folder / TARGET_VOCABULARY) if own else vocabulary
    return PairTokenizer(
        MarianSentenceTokenizer(vocabulary, _read_model(folder / SOURCE_MODEL)),
        MarianSentenceTokenizer(target, _read_model(folder / TARGET_MODEL)),
    )


def _read_model(path: Path) -> bytes:
    try:
        return read_bytes(path, limit=TOKENIZER_LIMIT)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error


def _read_vocabulary(path: Path) -> list[str]:
    """The pieces by id."""
    try:
        ids = read_json(path, limit=TOKENIZER_LIMIT)
        pieces = sorted(ids, key=ids.__getitem__)
        whole = [ids[piece] for piece in pieces] == list(range(len(ids)))
    except (OSError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise DataError(f"{path} is damaged or no vocabulary: {error}") from error
    if not whole:
        raise DataError(f"{path} should number its {len(ids):,} pieces from 0 without a gap.")
    return pieces


def _processor(model: bytes) -> Any:
    try:
        import sentencepiece
    except ImportError as error:
        raise DependencyError("A Marian tokenizer needs sentencepiece: pip install 'glassformer[hf]'") from error
    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(model)
    except (RuntimeError, OSError) as error:
        raise DataError(f"The SentencePiece model is damaged: {error}") from error
    return processor


def _language_code(text: str) -> tuple[str, str]:
    """``>>fra<< text`` in two."""
    end = text.find("<<")
    return (text[: end + 2], text[end + 2 :]) if text.startswith(">>") and end != -1 else ("", text)


# --- out ------------------------------------------------------------------------------------------------------------


def save_for_transformers(
    tokenizer: PairTokenizer, folder: Path, source_order: Sequence[int], target_order: Sequence[int], max_length: int
) -> None:
    """Write the tokenizers beside an exported model.

    Args:
        source_order, target_order: for each exported id, the id that the tokenizer has.
        max_length: tokens of a sentence, the end counted, that the model takes.

    Raises:
        DataError: the folder cannot be written.
    """
    source, target = tokenizer.source, tokenizer.target
    try:
        if isinstance(source, MarianSentenceTokenizer) and isinstance(target, MarianSentenceTokenizer):
            _save_marian(source, target, folder, max_length)
            return
        _save_engine(source, folder, source_order, max_length)
        if not tokenizer.joint:
            _save_engine(target, folder / TARGET_FOLDER, target_order, max_length)
        tokenizer.save(folder / OWN_FOLDER)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error


def _save_marian(
    source: MarianSentenceTokenizer, target: MarianSentenceTokenizer, folder: Path, max_length: int
) -> None:
    separate = source.vocabulary != target.vocabulary
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SOURCE_MODEL).write_bytes(source.model)
    (folder / TARGET_MODEL).write_bytes(target.model)
    _write_json(folder / VOCABULARY, source.id_of)
    if separate:
        _write_json(folder / TARGET_VOCABULARY, target.id_of)
    settings = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": separate, "model_max_length": max_length}
    _write_json(folder / "tokenizer_config.json", settings)


def _save_engine(tokenizer: SentenceTokenizer, folder: Path, order: Sequence[int], max_length: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    engine(tokenizer, order).save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "unk_token": UNKNOWN,
        "pad_token": PAD,
        "model_max_length": max_length,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": True,  # "</s>" in a text is text
    }
    _write_json(folder / "tokenizer_config.json", settings)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def engine(tokenizer: SentenceTokenizer, order: Sequence[int]) -> tokenizers.Tokenizer:
    """Hugging Face's engine for a tokenizer learned here, with the ids of ``order``, and the end token at the end."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    from glassformer.data.sentence_bpe import SentenceBytePairTokenizer, pre_tokenizer

    vocabulary = {tokenizer.vocabulary[token]: index for index, token in enumerate(order)}
    if isinstance(tokenizer, SentenceBytePairTokenizer):
        made = Tokenizer(models.BPE(vocab=vocabulary, merges=tokenizer.merges, byte_fallback=True))
        made.pre_tokenizer = pre_tokenizer()
        made.decoder = decoders.Sequence(
            [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        made = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
        if isinstance(tokenizer, WordTokenizer):
            made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        else:
            made.pre_tokenizer = pre_tokenizers.Split(Regex("(?m)."), "isolated")
            made.decoder = decoders.Fuse()
    steps: list[normalizers.Normalizer] = []
    if tokenizer.stand_in[0] and isinstance(tokenizer, SentenceBytePairTokenizer):
        steps.append(normalizers.Replace(*tokenizer.stand_in))
    if tokenizer.lowercase:
        steps.append(normalizers.Lowercase())
    steps += [normalizers.NFC(), normalizers.Replace(Regex(SPACES), " "), normalizers.Strip()]
    made.normalizer = normalizers.Sequence(steps)
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {END}", pair=f"$A $B {END}", special_tokens=[(END, vocabulary[END])]
    )
    made.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (END, UNKNOWN, PAD)])
    return made
