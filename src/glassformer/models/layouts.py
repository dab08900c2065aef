"""The models of Hugging Face that are read and written by a table (:mod:`glassformer.models.layout`)."""

from __future__ import annotations

from glassformer.models.layout import Layout, Setting

ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu-tanh",
    "gelu_pytorch_tanh": "gelu-tanh",
    "relu": "relu",
    "silu": "silu",
}

BERT = Layout(
    name="BERT",
    model_type="bert",
    architecture="BertForMaskedLM",
    settings=(
        Setting("vocab_size", "vocab_size", 30_522),
        Setting("max_position_embeddings", "max_seq_len", 512),
        Setting("hidden_size", "d_model", 768),
        Setting("num_hidden_layers", "n_layers", 12),
        Setting("num_attention_heads", "attention.n_heads", 12),
        Setting("intermediate_size", "feedforward.d_ff", 3072),
        Setting("hidden_dropout_prob", "dropout", 0.1),
        Setting("attention_probs_dropout_prob", "attention.dropout", 0.1),
        Setting("layer_norm_eps", "norm.eps", 1e-12),
        Setting("type_vocab_size", "embedding.types", 2),
        Setting("tie_word_embeddings", "head.tied", True),
    ),
    implied={
        "family": "encoder",
        "attention.projection": "separate",
        "feedforward.kind": "gelu",
        "norm.placement": "post",
        "norm.final": False,
        "positions.kind": "learned",
        "embedding.norm": True,
        "head.bias": True,
        "head.transform": True,
        "initialisation.scale_residual": False,
    },
    required={
        "hidden_act": "gelu",
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
    },
    weights={
        "embedding.tokens.weight": "bert.embeddings.word_embeddings.weight",
        "embedding.positions.table.weight": "bert.embeddings.position_embeddings.weight",
        "embedding.types.weight": "bert.embeddings.token_type_embeddings.weight",
        "embedding.norm.weight": "bert.embeddings.LayerNorm.weight",
        "embedding.norm.bias": "bert.embeddings.LayerNorm.bias",
        **{
            f"blocks.{{layer}}.{ours}.{kind}": f"bert.encoder.layer.{{layer}}.{theirs}.{kind}"
            for kind in ("weight", "bias")
            for ours, theirs in {
                "attention.w_q": "attention.self.query",
                "attention.w_k": "attention.self.key",
                "attention.w_v": "attention.self.value",
                "attention.w_o": "attention.output.dense",
                "attention_norm": "attention.output.LayerNorm",
                "feedforward.w_1": "intermediate.dense",
                "feedforward.w_2": "output.dense",
                "feedforward_norm": "output.LayerNorm",
            }.items()
        },
        "head_transform.dense.weight": "cls.predictions.transform.dense.weight",
        "head_transform.dense.bias": "cls.predictions.transform.dense.bias",
        "head_transform.norm.weight": "cls.predictions.transform.LayerNorm.weight",
        "head_transform.norm.bias": "cls.predictions.transform.LayerNorm.bias",
        "head.weight": "cls.predictions.decoder.weight",
        "head.bias": "cls.predictions.bias",
    },
    ignored=(
        "bert.pooler.",
        "bert.embeddings.position_ids",
        "cls.seq_relationship.",
        "cls.predictions.decoder.",  # the embedding's matrix and the head's bias again
        "cls.predictions.bias",  # of no effect beside the decoder's own
    ),
    untied={"head.bias": "cls.predictions.decoder.bias"},
)
"""transformers 5.24, models/bert/modeling_bert.py (Devlin et al. 2019): of its heads, the one for masked tokens."""

LAYOUTS = {layout.model_type: layout for layout in (BERT,)}
"""By the ``model_type`` of ``config.json``."""


def layout_for(family: str) -> tuple[Layout, ...]:
    """The layouts whose models are of this family."""
    return tuple(layout for layout in LAYOUTS.values() if layout.implied.get("family", "decoder") == family)
