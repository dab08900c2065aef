"""What the pages behind a report's rows read: of a text, of pairs, of a task."""

from __future__ import annotations

import pytest

from glassformer.data.language_modeling import prepare
from glassformer.data.synthetic import SyntheticData
from glassformer.data.synthetic_config import SyntheticConfig
from glassformer.data.translation_config import TranslationConfig
from glassformer.models.presets import preset
from glassformer.studies.design import study as designed
from glassformer.studies.report.numbers import gather
from glassformer.studies.report.row_pages import example, write_row_pages
from glassformer.studies.report.tables import differences_table
from glassformer.studies.worker import train_run
from glassformer.tasks.registry import prepare_samples
from glassformer.tasks.run_config import RunConfig


@pytest.mark.parametrize("longest", [5, 64])
def test_of_a_text_the_first_validation_tokens_are_read(base, longest):
    data = prepare(base.data)
    read = example(prepare_samples(base), longest)
    assert data.tokenizer.encode(read.text).tolist() == data.validation[:longest].tolist()
    assert read.target is None


def test_of_pairs_the_first_validation_pair_is_read(tmp_path):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"a{i}\tb{i}\n" for i in range(200)))
    run = RunConfig(model=preset("transformer-tiny").model, data=TranslationConfig(source=str(pairs)))
    read = example(prepare_samples(run))
    assert read.target == read.text.replace("a", "b")


def test_a_task_is_reported_with_its_accuracy_and_opens_on_a_validation_problem(base, create, design, tmp_path):
    task = SyntheticConfig(kind="copy", length=4, n_validation=50)
    tree = base.to_dict() | {"data": task.to_dict()}
    del tree["training"]["seq_len"]
    run = RunConfig.build(tree)
    problems = SyntheticData(task)
    read = example(prepare_samples(run))
    assert problems.tokenizer.encode(read.text).tolist() == problems.validation.tokens[0][:-1].tolist()
    study = create(designed(run, vary=["model.residual=none", "data.kind=sort"], seeds=1))
    for planned in study.plan:
        train_run(study, planned)
    numbers = gather(study)
    first, second = write_row_pages(numbers, tmp_path)
    assert (tmp_path / "opened" / "residual=none.html").is_file()
    assert (first.variant, first.seed, first.href) == ("residual=none", 0, "opened/residual%3Dnone.html")
    assert second.href is not None or second.missing
    table = differences_table(numbers, {})
    assert table.headers[-1].text == "accuracy"
    shown = [row[-1].value for row in table.rows]
    assert shown == [numbers.arm(name).accuracy for name in study.config.arms]


def test_a_run_that_is_gone_leaves_its_reason_in_place_of_a_page(create, design, tmp_path):
    study = create(design(["model.residual=none"], seeds=1))
    for planned in study.plan:
        train_run(study, planned)
    study.run_of(study.plan[1]).path.rename(tmp_path / "elsewhere")
    (row,) = write_row_pages(gather(study), tmp_path)
    assert row.href is None
    assert "There is no run" in row.missing
