"""All promises, by name."""

from __future__ import annotations

from collections.abc import Callable

from glassformer.models.config import ModelConfig
from glassformer.testing.context import (
    a_row_of_pads_is_finite,
    causal_is_causal,
    padding_is_nothing,
    rows_do_not_see_each_other,
)
from glassformer.testing.paths import (
    a_tree_equals_each_of_its_paths,
    cached_equals_uncached,
    cached_equals_uncached_with_left_padding,
    fused_equals_explicit,
    half_precision_is_near,
    recorded_weights_are_a_distribution,
    stacked_models_equal_single_ones,
)
from glassformer.testing.routing import routers_learn, selection_biases_only_select
from glassformer.testing.settings import a_seed_decides_everything, off_is_off
from glassformer.testing.use import costs_are_counted, saved_equals_loaded, trains_with_every_optimizer

Promise = Callable[[ModelConfig], None]

PROMISES: dict[str, Promise] = {
    promise.__name__: promise
    for promise in (
        fused_equals_explicit,
        recorded_weights_are_a_distribution,
        cached_equals_uncached,
        cached_equals_uncached_with_left_padding,
        a_tree_equals_each_of_its_paths,
        causal_is_causal,
        padding_is_nothing,
        a_row_of_pads_is_finite,
        rows_do_not_see_each_other,
        off_is_off,
        a_seed_decides_everything,
        stacked_models_equal_single_ones,
        half_precision_is_near,
        costs_are_counted,
        trains_with_every_optimizer,
        saved_equals_loaded,
        routers_learn,
        selection_biases_only_select,
    )
}
"""By name; ``compiles_into_one_graph`` and ``opens_as_a_page`` stand apart, since they take seconds."""
