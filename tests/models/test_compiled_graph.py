"""The probes are not in the compiled graph: it is, node by node, the graph of a model that never had any."""

from __future__ import annotations

import copy

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import fx
from torch._dynamo.backends.common import aot_autograd

from glassformer.models.presets import preset
from glassformer.parts.probes import Probe, probe_points, record
from glassformer.testing import shrunk
from glassformer.testing.cases import longest, random_case
from glassformer.testing.comparing import random_model
from glassformer.testing.configs import with_dropout

PRESETS = (
    "nanogpt-shakespeare-cpu",
    "modern-small",
    "tiny-transformer",
    pytest.param("transformer-small", marks=pytest.mark.slow(reason="10 s, and its parts are those of the others")),
)


def identity(x):
    return x


identity.watched = False


def without_probes(model):
    """The same model, its probes taken out of the module tree: a plain function stands in their place."""
    bare = copy.deepcopy(model)
    for module in list(bare.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Probe):
                delattr(module, name)
                module.__dict__[name] = identity
    assert not probe_points(bare)
    return bare


class Compiler:
    """Compiles as torch.compile does, without making code, and keeps each graph: as traced, forward, backward."""

    def __init__(self):
        self.graphs = []
        self.lower = aot_autograd(fw_compiler=self.keep, bw_compiler=self.keep)

    def keep(self, graph_module, inputs):
        self.graphs.append(described(graph_module.graph))
        return make_boxed_func(graph_module.forward)

    def __call__(self, graph_module, inputs):
        self.keep(graph_module, inputs)
        return self.lower(graph_module, inputs)


def described(graph: fx.Graph) -> list[tuple]:
    """Every node by what it does: operation, target, which nodes it takes, what it gives. Names are left out."""
    place = {node: index for index, node in enumerate(graph.nodes)}
    nodes = []
    for node in graph.nodes:
        takes = fx.node.map_arg((node.args, node.kwargs), lambda each: f"node {place[each]}")
        target = "" if node.op in ("placeholder", "output") else str(node.target)
        value = node.meta.get("val", node.meta.get("example_value"))
        values = value if isinstance(value, tuple | list) else [value]
        gives = [(tuple(each.shape), each.dtype) if isinstance(each, torch.Tensor) else each for each in values]
        nodes.append((node.op, target, str(takes), str(gives)))
    return nodes


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def prepared(name):
    config = with_dropout(shrunk(preset(name).model))
    config = config.override({"n_layers": 1, "n_encoder_layers": 1 if config.has_encoder else None})
    case = random_case(config, 2, longest(config, 8))
    return random_model(config).train(), case.ragged(right=2) if config.has_encoder else case


def step(model, case):
    """Forward and backward."""
    case.loss(case.run(model)).backward()


def graphs_of(model, case):
    compiler = Compiler()
    step(torch.compile(model, fullgraph=True, backend=compiler), case)
    return compiler.graphs


@pytest.mark.parametrize("name", PRESETS)
def test_the_compiled_graph_is_that_of_a_model_without_probes(name):
    model, case = prepared(name)
    with_them = graphs_of(model, case)
    torch.compiler.reset()
    without = graphs_of(without_probes(model), case)
    assert len(with_them) == len(without) == 3  # as traced, the forward pass, the backward pass
    assert min(len(graph) for graph in with_them) > 20
    assert with_them == without


def test_whoever_attached_and_left_leaves_nothing_in_the_graph():
    model, case = prepared("nanogpt-shakespeare-cpu")
    untouched = graphs_of(copy.deepcopy(model), case)
    torch.compiler.reset()
    with torch.no_grad(), record(model) as seen:
        case.run(model)
    assert seen
    assert graphs_of(model, case) == untouched


def test_watching_a_compiled_model_does_not_compile_it_again():
    model, case = prepared("nanogpt-shakespeare-cpu")
    compiler = Compiler()
    compiled = torch.compile(model, fullgraph=True, backend=compiler)
    step(compiled, case)
    assert len(compiler.graphs) == 3
    with record(model) as seen:
        case.run(model)  # the model itself, as one looks into it between two steps of its training
    assert set(seen) == set(probe_points(model))
    step(compiled, case)
    assert len(compiler.graphs) == 3


def test_one_operation_more_makes_another_graph():
    """The comparison sees what it is for."""
    model, case = prepared("nanogpt-shakespeare-cpu")
    plain = graphs_of(model, case)
    torch.compiler.reset()
    model.blocks[0].input.register_forward_hook(lambda _module, _inputs, x: x * 1.5)
    assert graphs_of(model, case) != plain
