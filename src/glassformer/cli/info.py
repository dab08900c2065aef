"""``glassformer info``: what a model is made of and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassformer.cli.terminal import emit_json
from glassformer.cli.units import readable_bytes
from glassformer.config import parse
from glassformer.errors import ConfigError, RunError, nearest
from glassformer.models.family import family_of
from glassformer.wording import counted, in_all_and_active, listed

if TYPE_CHECKING:  # torch is imported when the command runs
    from glassformer.models.build import Model
    from glassformer.models.config import ModelConfig
    from glassformer.models.costs import Costs

DTYPES = ("float32", "bfloat16", "float16", "float64")
OPTIMIZERS = ("adamw", "adam", "muon", "sgd")
PATHS = ("fused", "explicit")


def info(
    what: Annotated[
        str, typer.Argument(metavar="PRESET|RUN|CONFIG.json", help="The model: a name, a folder or a file.")
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, as in model.residual=none."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, max=10**9, help="Sequences at a time.")] = 1,
    seq_len: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a sequence; the model's context unless given.")
    ] = None,
    source_len: Annotated[
        int | None, typer.Option(min=1, help="Tokens in a source, where there is an encoder; --seq-len unless given.")
    ] = None,
    dtype: Annotated[str, typer.Option(help=f"Type of all values: {', '.join(DTYPES)}.")] = "float32",
    optimizer: Annotated[str, typer.Option(help=f"Whose state to count: {', '.join(OPTIMIZERS)}.")] = "adamw",
    path: Annotated[str, typer.Option(help="Attention: fused or explicit.")] = "fused",
    probes: Annotated[
        bool, typer.Option("--probes", help="Show the module tree and the names of all activations.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON object.")] = False,
) -> None:
    """Count a model's parameters, FLOPs and bytes."""
    _check_known(("--dtype", dtype, DTYPES), ("--optimizer", optimizer, OPTIMIZERS), ("--path", path, PATHS))
    import torch

    from glassformer.models.costs import costs
    from glassformer.models.counting import build_on_meta

    config, source = find_model(what)
    config = config.override(_model_settings(assignments or []))
    result = costs(
        config,
        batch_size=batch_size,
        seq_len=seq_len,
        source_len=source_len,
        dtype=getattr(torch, dtype),
        optimizer=optimizer,  # type: ignore[arg-type]
        momentum=optimizer == "sgd",
        path=path,  # type: ignore[arg-type]
    )
    if as_json:
        tree: dict[str, Any] = {"what": what, "source": source, "model": config.to_dict(), "costs": result.to_dict()}
        if probes:
            from glassformer.parts.probes import probe_points

            tree["probes"] = list(probe_points(build_on_meta(config)))
        emit_json(tree, indent=2)
        return
    _show(what, source, config, result)
    if probes:
        _show_probes(build_on_meta(config))


def find_model(what: str) -> tuple[ModelConfig, str]:
    """The configuration that a preset's name, a run's folder or name, or a JSON file stands for, and where it is from.

    Raises:
        ConfigError: it is none of these, or cannot work.
    """
    from glassformer.models.config import ModelConfig
    from glassformer.models.presets import preset, preset_names
    from glassformer.runs.folder import Run
    from glassformer.tasks.opening import run_config

    if what in preset_names():
        return preset(what).model, preset(what).source
    path = Path(what).expanduser()
    if path.is_file():
        return ModelConfig.build(_model_tree(path)), str(path)
    try:
        run = Run.open(what)
    except RunError as error:
        hint = nearest(what, preset_names())
        raise ConfigError(
            f"'{what}' is not a preset ({hint}) nor a configuration file, nor a run: {error}",
            subject="command",
        ) from error
    return run_config(run).model, str(run.path)


def _model_tree(path: Path) -> dict[str, Any]:
    """The model's part of a run's config.json, or a file that holds a model alone."""
    try:
        tree = parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as JSON: {error}", subject="command") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} holds a {type(tree).__name__}; expected a JSON object.", subject="command")
    model = tree.get("model", tree)
    if not isinstance(model, dict):
        raise ConfigError(
            f"{path} has a model that is a {type(model).__name__}; expected an object.", subject="command"
        )
    return model


def _model_settings(assignments: list[str]) -> dict[str, str]:
    """``model.residual=none`` and ``residual=none`` alike."""
    from glassformer.config import parse_assignments

    return {name.removeprefix("model."): value for name, value in parse_assignments(assignments).items()}


def _check_known(*options: tuple[str, str, tuple[str, ...]]) -> None:
    complaints = [
        f"{option} is '{value}'; expected one of {', '.join(known)}."
        for option, value, known in options
        if value not in known
    ]
    if complaints:
        raise ConfigError(complaints, subject="command")


# --- what is shown --------------------------------------------------------------------------------------------------


def _show(what: str, source: str, config: ModelConfig, result: Costs) -> None:
    from rich.text import Text

    from glassformer.cli.terminal import Terminal

    console = Terminal(soft_wrap=False)
    title = Text.assemble((what, "bold"), "  ", in_all_and_active(result.parameters.total, result.active_parameters))
    console.print(title)
    console.print(Text(source, style="dim"))
    console.print(Text(_in_words(config)))
    console.print()
    count, flops = result.parameters, result.flops
    groups = ["token_embedding", "position_embedding", "attention", "feedforward", "norms", "head"]
    if any(stack.cross for stack in family_of(config).stacks):
        groups.insert(3, "cross_attention")
    rows = [(_words(name), f"{getattr(count, name):,}", _share(getattr(count, name), count.total)) for name in groups]
    rows += [("total", f"{count.total:,}", "")]
    if result.active_parameters != count.total:
        rows.append(("active (a token meets)", f"{result.active_parameters:,}", ""))
    rows.append(("in the blocks' matrices (Kaplan's N)", f"{count.matrices:,}", ""))
    console.print(_table("Parameters", rows))

    parts = (
        "attention_projections",
        "attention_scores",
        "cross_attention_projections",
        "cross_attention_scores",
        "feedforward",
        "head",
        "other",
    )
    rows = [(_words(name), f"{getattr(flops, name):,}", _share(getattr(flops, name), flops.forward)) for name in parts]
    rows = [row for row in rows if row[1] != "0"]
    rows += [("forward", f"{flops.forward:,}", ""), ("training (3 × forward)", f"{flops.training:,}", "")]
    console.print(_table(_whose_flops(result), rows))

    windows = any(config.attention.window_of(layer) for layer in range(config.n_layers))
    at_most = " at most" if windows else ""
    tokens, cached = f"{result.seq_len}", f"{result.kv_cache_bytes_per_token:,} a token{at_most}"
    if result.source_len is not None:
        tokens = f"({result.source_len} + {result.seq_len})"
        cached = f"{result.kv_cache_bytes_per_token:,} a target token, "
        cached += f"{result.cross_cache_bytes_per_token:,} a source token"
    circumstances = f"batch {result.batch_size} × {tokens} tokens, {result.dtype}, {result.optimizer}"
    activations = {f"activations: {_words(name)}": size for name, size in result.activation_bytes.items() if size}
    rows = [
        ("weights", readable_bytes(result.weight_bytes), ""),
        ("gradients", readable_bytes(result.gradient_bytes), ""),
        ("optimizer state", readable_bytes(result.optimizer_bytes), ""),
        *((name, readable_bytes(size), "") for name, size in activations.items()),
        ("training, together", readable_bytes(result.training_bytes), ""),
    ]
    if family_of(config).generates:
        rows.append(("KV cache", readable_bytes(result.kv_cache_bytes), cached))
    console.print(_table(f"Bytes, {circumstances}, {result.path} attention", rows))


def _whose_flops(result: Costs) -> str:
    if result.source_len is None:
        return f"FLOPs per token, in a sequence of {result.seq_len}"
    return f"FLOPs per target token, of {result.seq_len} to a source of {result.source_len}"


def _in_words(config: ModelConfig) -> str:
    """The shape and the choices in a few lines, a stack in each."""
    heads = f"{counted(config.attention.n_heads, 'head')} of {config.d_head}"
    if config.n_kv_heads != config.attention.n_heads:
        heads += f" ({config.n_kv_heads} for keys and values)"
    norm = f"{config.norm.kind} ({config.norm.placement}{', final' if config.norm.final else ''})"
    family = family_of(config)
    inputs = family.inputs(config)
    stacks = "".join(
        f"{stack.side}: {counted(stack.n_layers(config), 'layer')} of {_sublayers(config, cross=stack.cross)}, "
        f"vocabulary {inputs[stack.reads].vocab_size}\n"
        for stack in family.stacks
    )
    if config.attention.pattern != "full":
        heads += f", {config.attention.describe_pattern()}"
    return (
        f"{stacks}width {config.d_model}, {heads}, {_feedforward(config)}, "
        f"context {config.max_seq_len}\n"
        f"norm {norm}, positions {config.positions.kind}, residual {config.residual}, "
        f"{_tying(config)}, dropout {config.dropout}"
    )


def _feedforward(config: ModelConfig) -> str:
    """Kind and width of the feed-forward layers, and the experts of it that there are."""
    experts = config.feedforward.experts
    if experts is None:
        return f"{config.feedforward.kind} × {config.d_ff}"
    found = f"{experts.n_active} of {counted(experts.n_experts, 'expert')}, {config.feedforward.kind} × "
    found += f"{experts.d_ff or config.d_ff} ({experts.router} router"
    found += f", {experts.n_shared} shared" if experts.n_shared else ""
    return found + (f", every {experts.every} layers)" if experts.every > 1 else ")")


def _sublayers(config: ModelConfig, *, cross: bool = False) -> str:
    """What a block has."""
    attentions = ["attention", "cross-attention"] if cross else ["attention"]
    names = (attentions if config.has_attention else []) + (["ffn"] if config.has_feedforward else [])
    return " + ".join(names)


def _tying(config: ModelConfig) -> str:
    """Which token matrices are one."""
    family = family_of(config)
    if len(family.stacks) == 1:
        return f"{'tied' if config.head.tied else 'untied'} head"
    if not config.embedding.tokens:
        return "no token embeddings"
    inputs, ties = family.inputs(config), family.ties(config)
    names = {f"{stack.prefix}embedding.tokens.weight": inputs[stack.reads].name for stack in family.stacks}
    names["head.weight"] = "head"
    tied = [name for weight, name in names.items() if weight in {*ties, *ties.values()}]
    return f"{listed(tied)} embeddings tied" if tied else f"{listed([*names.values()])} embeddings untied"


def _table(title: str, rows: list[tuple[str, str, str]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0), title_style="italic"
    )
    table.add_column(no_wrap=True, min_width=38)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    sums = ("total", "forward", "training")
    for name, value, note in rows:
        style = "bold" if name.startswith(sums) else ""
        table.add_row(Text(name, style=style), Text(value, style=style), note)
    table.add_row("", "", "")
    return table


def _show_probes(model: Model) -> None:
    """The module tree, the weights' shapes beside the layers, the probes by their full names."""
    from rich.text import Text
    from rich.tree import Tree

    from glassformer.cli.terminal import Terminal
    from glassformer.parts.probes import Probe

    tree = Tree(Text("model", style="bold"))
    branches = {"": tree}
    for name, module in model.named_modules():
        if not name:
            continue
        parent, _, last = name.rpartition(".")
        if isinstance(module, Probe):
            line = Text.assemble(("○ ", "cyan"), (name, "cyan"))
        else:
            shapes = ", ".join(f"{each} {list(value.shape)}" for each, value in module.named_parameters(recurse=False))
            line = Text.assemble((last, "bold"), f"  {type(module).__name__}  ", (shapes, "dim"))
        branches[name] = branches[parent].add(line)
    console = Terminal(soft_wrap=False)
    console.print(tree)
    console.print("○ activations, as record(model, NAME) takes them", style="dim")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else ""
