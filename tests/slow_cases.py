"""Tests that the quick suite leaves to `make test-full`, by the beginning of their names, under the reason.

Each repeats, at a larger size or in one more process, what another test shows in the quick suite. A test that is slow
by its own nature says so where it stands: ``@pytest.mark.slow(reason=...)``.
"""

from __future__ import annotations

SLOW = {
    "stops, extends or repairs a study in real processes; studies/test_local_processes kills its workers": (
        "cli/test_study.py::test_ctrl_c_saves_and_the_study_goes_on_to_the_same_end",
        "cli/test_study.py::test_a_run_that_fails_is_told_after_the_table_and_tried_again",
        "cli/test_study.py::test_seeds_are_added_until_the_table_is_decided",
    ),
    "measures the machine's speed; every other command's JSON is read in the quick suite": (
        "cli/test_best_and_finite.py::test_what_a_command_prints_as_json_is_json_to_every_reader[scale plan",
    ),
    "trains a whole ladder; scaling/test_ladder does so in the quick suite": (
        "cli/test_scale_ladder.py::test_a_ladder_goes_from_a_line_to_a_page_and_is_not_made_twice",
    ),
    "trains a claim's studies; claims/test_claim_studies decides claims in the quick suite": (
        "cli/test_claims.py::test_a_claim_that_takes_training_makes_its_studies_once",
        "claims/test_claim_studies.py::test_it_is_decided_from_its_studies[no-position]",
        "claims/test_claim_studies.py::test_real_processes_make_the_same_runs",
        "claims/test_exact_claims.py::test_it_is_decided_within_the_quick_budget[residual-depth",
    ),
    "a large preset, of the same parts as a small one": (
        "models/test_costs.py::test_presets_cost_the_flops_that_torch_counts[gpt2-xl]",
        "models/test_costs.py::test_presets_cost_the_flops_that_torch_counts[gpt2-large]",
        "models/test_costs.py::test_presets_cost_the_flops_that_torch_counts[gpt2-medium]",
    ),
    "compiles a third model": (
        "models/test_compiled_graph.py::test_the_compiled_graph_is_that_of_a_model_without_probes[tiny-transformer]",
    ),
    "one more whole fit; the quick suite fits a table with and without JSON": (
        "cli/test_scale_fit.py::test_runs_without_noise_are_met",
        "cli/test_scale_fit.py::test_runs_of_one_budget_are_fitted",
        "cli/test_scale_fit.py::test_losses_that_no_exponent",
    ),
    "one more process; cli/test_main closes, fills and breaks streams in the quick suite": (
        "cli/test_scale_plan.py::test_a_reader_who_leaves_early",
        "cli/test_doctor.py::test_a_reader_who_left",
        "cli/test_commands.py::test_a_second_ctrl_c",
        "cli/test_translate.py::test_a_reader_that_leaves",
    ),
    "one more page in the browser": (
        "inspection/test_page.py::test_two_runs_stand_side_by_side",
        "inspection/test_page.py::test_a_model_that_lacks_a_part",
        "inspection/test_saved_figures.py::test_every_figure_of_a_page",
        "charts/test_attention_steps.py::test_a_query_that_may_look_nowhere",
        "charts/test_page.py::test_playing_goes_from",
        "studies/test_row_pages.py::test_a_task_is_reported",
    ),
    "one more report; studies/test_report writes one in the quick suite": (
        "cli/test_report.py::test_a_report_is_written_and_says",
    ),
    "a third program translates, or a further model": (
        "models/test_marian.py::test_each_way_to_stop_is_the_same_where_two_have_it[the paper's sines]",
        "models/test_marian.py::test_each_way_to_stop_is_the_same_where_two_have_it[opus-mt]",
        "models/test_marian.py::test_beams_of_five_are_the_same_in_all_three[the paper's sines]",
        "models/test_marian.py::test_beams_of_five_are_the_same_in_all_three[opus-mt]",
        "cli/test_info.py::test_a_gpt2_from_elsewhere",
        "generation/test_beam_search.py::test_an_ensemble_takes_the_mean",
    ),
    "one more training that is stopped and resumed; training/test_resume does so in the quick suite": (
        "tasks/test_problems.py::test_a_stopped_run",
        "training/test_resume.py::test_resumed_equals_uninterrupted_wherever",
        "training/test_extrapolation.py::test_a_resumed_run_forecasts_what_an_uninterrupted_one_does[10]",
        "training/test_extrapolation.py::test_a_resumed_run_forecasts_what_an_uninterrupted_one_does[21]",
        "training/test_means.py::test_a_resumed_run_has_the_same_means",
    ),
    "trains until something is learned": ("tasks/test_pairs.py::test_a_translator_learns_to_reverse",),
    "one more planted law or set of curves": (
        "scaling/test_ladder.py::test_the_truth_is_told",
        "scaling/test_sensitivity.py::test_on_a_planted_law_without_noise",
        "training/test_extrapolation.py::test_intervals_hold_the_final_loss_of_curves_of_the_known_form[inverse-sqrt]",
        "training/test_extrapolation.py::test_intervals_hold_the_final_loss_of_curves_of_the_known_form[constant]",
        "scoring/test_translations.py::test_the_interval_surrounds",
    ),
    "runs a page whose commands train; `make test-docs`, which CI runs as well": (
        "docs/test_docs_run.py::test_the_page_runs_as_it_stands[README.md]",
        "docs/test_docs_run.py::test_the_page_runs_as_it_stands[docs/your-own-part.md]",
    ),
    "measures this machine in a process of its own": (
        "test_speed.py::test_another_process_reads_what_this_one_measured",
        "test_speed.py::test_freed_memory_can_be_kept_where_glibc_is",
    ),
    "one more of its kind": (
        "data/test_translation.py::test_multi30k_is_padded_little[limit0",
        "models/test_compiled_graph.py::test_the_compiled_graph_is_that_of_a_model_without_probes[nanogpt-shakespeare-cpu]",
        "studies/test_report_failures.py::test_a_report_that_is_written_again",
        "scaling/test_fit_page.py::test_a_fit_without_two_exponents",
        "scaling/test_fit_page.py::test_the_target_is_ten_times",
        "cli/test_study.py::test_workers_have_one_thread",
        "runs/test_folder.py::test_two_processes_never_get_the_same_folder",
        "inspection/test_page.py::test_a_text_of_one_token",
        "cli/test_scale_plan.py::test_a_plan_is_trained_by_the_command_it_ends_with[plan.toml]",
        "training/test_trainer.py::test_a_run_gives_the_same_first_second",
        "generation/test_translation.py::test_each_line_has_its_translation",
        "claims/test_claim.py::test_every_set_of_parts_has_a_verdict",
        "scaling/test_fit_page.py::test_the_page_has_every_section_and_every_chart",
        "models/test_compiled_graph.py::test_one_operation_more",
    ),
}
