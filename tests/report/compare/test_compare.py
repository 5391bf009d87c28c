import csv
import json
import re

import pytest
from made_runs import MIXED, OTHER, changed, groups_of, make_run

from diffnas.cli import main
from diffnas.genotype import Genotype, parse, published, to_json, to_text
from diffnas.report.compare import grouped, read_found, run_grid, table1, to_markdown
from diffnas.report.compare.likeness import agreement, differing, same_edges, similarity

CONV, SKIP, NONE = (f"|{op}~0|" for op in ("nor_conv_3x3", "skip_connect", "none"))


@pytest.fixture
def runs(tmp_path):
    make_run(tmp_path / "sparse-0", MIXED, seed=0, accuracy=0.60)
    make_run(tmp_path / "sparse-1", OTHER, seed=1, accuracy=0.70)
    make_run(tmp_path / "darts-0", MIXED, method="darts", seed=0, accuracy=0.50)
    make_run(tmp_path / "darts-1", MIXED, method="darts", seed=1, finished=False)
    return tmp_path


@pytest.mark.parametrize(
    ("one", "other", "alike", "edges"),
    [
        (MIXED, MIXED, 1, 1),
        (MIXED, OTHER, 1 / 3, 2 / 3),
        (CONV, SKIP, 0, 0),
        (NONE, NONE, 1, 1),
        ("|none~0|+|none~0|none~1|", MIXED, 0, 1 / 3),
    ],
)
def test_similarity_counts_connections_and_same_edges_counts_none_as_well(one, other, alike, edges):
    first, second = parse(one), parse(other)
    assert similarity(first, second) == similarity(second, first) == pytest.approx(alike)
    assert same_edges(first, second) == pytest.approx(edges)


def test_agreement_is_the_mean_over_all_pairs():
    cells = [parse(MIXED), parse(MIXED), parse(OTHER)]
    assert agreement(cells) == pytest.approx(((1 + 1 / 3 + 1 / 3) / 3, (1 + 2 / 3 + 2 / 3) / 3))
    assert agreement(cells[:1]) is None


def test_an_operation_in_another_kind_of_cell_is_another_connection():
    cells = published("DARTS_V2").cells
    swapped = Genotype(skeleton="darts", cells={"normal": cells["reduce"], "reduce": cells["normal"]})
    assert similarity(published("DARTS_V2"), swapped) < 0.2


def test_the_edges_that_differ_are_told_with_how_many_chose_what():
    told = differing([parse(MIXED), parse(OTHER), parse(OTHER)])
    assert told == {("normal", 0, 2): {"nor_conv_1x1": 2, "skip_connect": 1}}


def test_runs_that_differ_by_their_seed_alone_are_a_group(runs):
    make_run(runs / "sparse-2", seed=2, accuracy=0.65, lr=0.1)
    make_run(runs / "sparse-3", seed=3, accuracy=0.90, evaluation_epochs=600)
    found = {group.label: [run.name for run in group.runs] for group in groups_of(runs)}
    assert list(found.values()) == [["darts-0", "darts-1"], ["sparse-0", "sparse-1"], ["sparse-3"], ["sparse-2"]]
    assert next(iter(found)) == "darts"
    assert "evaluation epochs=600" in list(found)[2]
    assert "lr=0.1" in list(found)[3]


def test_the_command_prints_mean_spread_agreement_and_differences(runs, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert main(["compare", str(runs)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("sparse 2 65.00% ± 7.07%") and line.endswith("2 0.33 67%") for line in lines)
    assert any(line.startswith("darts 2 50.00% (of 1)") and line.endswith("1 1.00 100%") for line in lines)
    assert any(line.startswith("darts-1 (not finished)") for line in lines)
    assert "sparse normal 0 → 2 skip_connect (1), nor_conv_1x1 (1)" in lines
    assert any(line.startswith("Mean ± standard deviation over the runs of a group") for line in lines)


def test_a_table_of_a_benchmark_adds_accuracy_and_rank(runs, tmp_path, capsys):
    (tmp_path / "table.csv").write_text(f"arch,test\n{MIXED},90\n{OTHER},94\n")
    words = ["compare", str(runs), "--table", str(tmp_path / "table.csv"), "--columns", "benchmark,rank", "--markdown"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "| sparse | 2 | 92.00 ± 2.83 | 1.5 ± 0.7 | 2 | 0.33 | 67% |" in told
    assert "| sparse-1 | 94.00 | 1 |" in told


def test_cells_that_each_have_a_place_of_their_own_are_in_no_table(runs, tmp_path, capsys):
    cell = parse(MIXED).cells["normal"]
    placed = Genotype(skeleton="nas-bench-201", cells={f"cell{place}": cell for place in (0, 2, 4)})
    make_run(runs / "sparse-progressive-0", placed, method="sparse-progressive")
    (tmp_path / "table.csv").write_text(f"arch,test\n{MIXED},90\n{OTHER},94\n")
    words = ["compare", str(runs), "--table", str(tmp_path / "table.csv"), "--markdown"]
    assert main([*words, "--columns", "benchmark,connections"]) == 0
    assert "| sparse-progressive-0 |  | 6 |" in capsys.readouterr().out


def test_every_number_of_every_run_goes_to_csv(runs, tmp_path):
    assert main(["compare", str(runs), "--csv", str(tmp_path / "out" / "all.csv"), "--json"]) == 0
    rows = list(csv.DictReader((tmp_path / "out" / "all.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == ["darts-0", "darts-1", "sparse-0", "sparse-1"]
    last = rows[-1]
    assert (last["accuracy"], last["parameters"], last["seconds"], last["skips"]) == ("0.7", "1001", "62.0", "0")
    assert parse(last["genotype"]) == parse(OTHER)
    assert rows[1]["finished"] == "False"


def test_an_operation_is_counted_for_each_kind_of_cell(tmp_path, capsys):
    run = make_run(tmp_path / "darts-0", published("DARTS_V1"), space="darts")
    words = ["--columns", "skips,normal/skip_connect,reduce/skip_connect", "--epochs", "reduce/max_pool_3x3"]
    assert main(["compare", str(run), *words, "--json"]) == 0
    _, runs, *_, pools = json.loads(capsys.readouterr().out)["tables"]
    assert runs["header"] == ["run", "skips", "normal skip_connect", "reduce skip_connect"]
    assert runs["rows"] == [["darts-0", "6", "3", "3"]]
    assert pools["rows"] == [["darts-0", "4", "4"]]


def test_the_page_holds_the_tables_and_the_cells_and_needs_no_network(runs, tmp_path):
    assert main(["compare", str(runs), "--html", str(tmp_path / "page.html"), "--markdown"]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "4 runs compared" in text
    assert "65.00% ± 7.07%" in text
    assert text.count("<figure><figcaption>normal") == 2
    assert "sparse: 60.00%, 70.00%" in text
    assert not re.findall(r"(?:src|href)=.(?!data:)|url\(|@import|fetch\(", text)


def test_results_that_were_kept_without_their_record_are_named_after_their_folder(tmp_path):
    run = make_run(tmp_path / "single-level-11", accuracy=0.6)
    for name in ("run.json", "evaluation/run.json"):
        (run / name).unlink()
    found = read_found(run)
    assert (found.method, found.seed, found.tested["test"]["accuracy"]) == ("single-level", 11, 0.6)


def test_cells_that_were_only_trained_are_read_too(tmp_path):
    folder = make_run(tmp_path / "random-3", accuracy=0.4)
    (folder / "run.json").unlink()
    (folder / "trace.jsonl").unlink()
    for place in (folder, folder / "evaluation"):
        found = read_found(place)
        assert found.tested["test"]["accuracy"] == 0.4
        assert found.lines == []
        assert found.genotype == parse(MIXED)


def test_a_number_of_every_epoch_has_a_column_an_epoch(runs, capsys):
    assert main(["compare", str(runs), "--epochs", "live_ops", "--cells", "--markdown"]) == 0
    told = capsys.readouterr().out
    assert "| sparse-1 | 21 | 21 |" in told
    assert f"| sparse-1 | {OTHER} |".replace("|n", "\\|n").replace("~0|", "~0\\|").replace("~1|", "~1\\|") in told
    assert main(["compare", str(runs), "--epochs", "lives"]) == 2
    assert "no run has 'lives' in its trace" in capsys.readouterr().err


CHOSEN = "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|"
SECOND = "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|none~2|"


@pytest.fixture
def traced(tmp_path) -> list[str]:
    """The words that compare a search whose cell changes, with a table of both cells and of that without ``none``.

    In the end ``none`` has the most weight on the edge from 0 to 1, and the skip comes next. On four edges nothing but
    ``none`` is left.
    """
    folder = make_run(tmp_path / "kept" / "sparse-0", CHOSEN)
    (folder / "run.json").unlink()
    line = json.loads((folder / "trace.jsonl").read_text().splitlines()[0])
    only = [1.0, 0.0, 0.0, 0.0, 0.0]
    mix = [[0.25, 0.15, 0.1, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0], only, only, only, only]
    keep = [[weight > 0 for weight in row] for row in mix]
    lines = [{**line, "epoch": epoch, "mix": mix, "keep": keep} for epoch in range(4)]
    lines[0]["genotype"] = json.loads(to_json(parse(SECOND)))
    (folder / "trace.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    (tmp_path / "table.csv").write_text(f"arch,test\n{CHOSEN},70\n{SECOND},90\n")
    return ["compare", str(folder.parent), "--table", str(tmp_path / "table.csv"), "--markdown"]


def test_a_cell_is_looked_up_without_none_too_and_the_weight_that_it_discards_is_told(traced, capsys):
    assert main([*traced, "--columns", "benchmark,without_none,discarded"]) == 0
    assert f"| sparse-0 | 70.00 | 90.00 | {0.5 / 6:.2f} |" in capsys.readouterr().out


@pytest.mark.usefixtures("traced")
def test_without_none_an_edge_that_has_an_operation_keeps_it(tmp_path):
    """Gates that are wide open all have the mixing weight 1, and their probabilities decide."""
    folder = tmp_path / "kept" / "sparse-0"
    lines = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    open_gates = {"mix": [[1.0] * 5] * 6, "keep": [[True] * 5] * 6}
    (folder / "trace.jsonl").write_text("".join(json.dumps(line | open_gates) + "\n" for line in lines))
    found = read_found(folder)
    assert to_text(found.genotype) == CHOSEN
    assert to_text(found.without_none) == CHOSEN.replace("none", "skip_connect")


def test_a_column_after_each_epoch_is_that_of_the_cell_of_the_epoch(traced, capsys):
    assert main([*traced, "--epochs", "benchmark", "--epochs", "skips", "--every", "2"]) == 0
    told = capsys.readouterr().out
    assert "**benchmark, after each epoch**\n\n| run | 1 | 3 | 4 |\n" in told
    assert "| sparse-0 | 90.00 | 70.00 | 70.00 |" in told
    assert "| sparse-0 | 1 | 0 | 0 |" in told


def test_a_trace_of_another_space_has_no_cell_without_none(runs, tmp_path, capsys):
    (tmp_path / "table.csv").write_text(f"arch,test\n{MIXED},90\n{OTHER},94\n")
    words = ["compare", str(runs), "--table", str(tmp_path / "table.csv"), "--markdown"]
    assert main([*words, "--columns", "benchmark,without_none"]) == 0
    assert "without none" not in capsys.readouterr().out


def test_table_1_has_our_numbers_beside_the_printed_ones_each_marked(runs, tmp_path, capsys):
    make_run(tmp_path / "sparse-9", published("DARTS_V2"), seed=9, accuracy=0.9, space="darts", data="cifar100")
    (tmp_path / "table.csv").write_text(f"arch,test\n{MIXED},90\n{OTHER},94\n")
    assert main(["compare", str(runs), "--table1", "--table", str(tmp_path / "table.csv"), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)["tables"][0]
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert rows["3-entmax, prune, single-level"] == [
        "97.58 p",
        "82.97 p; 90.00 (1 seed) [2]",
        "97.68 r; 92.00 ± 2.83 (2 seeds) b; 65.00 ± 7.07 (2 seeds) [1]",
        "81.75 r",
    ]
    assert rows["ASAP"] == ["98.32 c", "-", "-", "-"]
    assert "[2] 5 epochs on cifar100, 16 channels, 5 cells." in table["note"]


def test_table_1_takes_cells_without_a_record_and_puts_them_where_the_table_measured_them(tmp_path, capsys):
    (make_run(tmp_path / "kept" / "sparse-0", MIXED) / "run.json").unlink()
    (tmp_path / "table.csv").write_text(f"arch,cifar100_test_200\n{MIXED},70\n")
    assert main(["compare", str(tmp_path), "--table1", "--table", str(tmp_path / "table.csv"), "--json"]) == 0
    rows = {row[0]: row[1:] for row in json.loads(capsys.readouterr().out)["tables"][0]["rows"]}
    assert rows["3-entmax, prune, single-level"] == ["97.58 p", "82.97 p", "97.68 r", "81.75 r; 70.00 (1 seed) b"]


def test_results_without_a_record_are_a_group_with_those_beside_them_alone(tmp_path):
    for folder, accuracy in (("cifar10", 0.6), ("cifar100", 0.2)):
        for seed in range(2):
            run = make_run(tmp_path / folder / f"darts-{seed}", method="darts", seed=seed, accuracy=accuracy)
            for name in ("run.json", "evaluation/run.json"):
                (run / name).unlink()
    groups = grouped(read_found(path.parent) for path in sorted(tmp_path.glob("*/*/genotype.json")))
    above = tmp_path.name
    assert [group.label for group in groups] == [f"darts (folder={above}/{name})" for name in ("cifar10", "cifar100")]
    assert [{run.tested["test"]["accuracy"] for run in group.runs} for group in groups] == [{0.6}, {0.2}]


def test_a_result_without_a_record_joins_the_runs_beside_it_if_they_are_of_one_group(tmp_path):
    for seed in range(3):
        make_run(tmp_path / f"darts-{seed}", method="darts", seed=seed)
        make_run(tmp_path / f"sparse-{seed}", seed=seed, accuracy=0.6)
    (tmp_path / "darts-0" / "run.json").unlink()
    elsewhere = make_run(tmp_path.parent / "elsewhere", method="darts", accuracy=0.5)
    (elsewhere / "evaluation").rename(tmp_path / "darts-9")  # an evaluation has a record, of cells from anywhere
    groups = {group.label: [run.name for run in group.runs] for group in groups_of(tmp_path)}
    assert groups["darts"] == ["darts-0", "darts-1", "darts-2"]
    make_run(tmp_path / "darts-3", method="darts", seed=3, lr=0.1)
    assert ["darts-0"] in [[run.name for run in group.runs] for group in groups_of(tmp_path)]


def test_folders_of_folders_stand_for_the_runs_in_them(runs, tmp_path_factory, capsys):
    above = tmp_path_factory.mktemp("above")
    runs.rename(above / "deep")
    assert main(["compare", str(above), "--json"]) == 0
    named = [row[0] for row in json.loads(capsys.readouterr().out)["tables"][1]["rows"]]
    assert named == ["darts-0", "darts-1 (not finished)", "sparse-0", "sparse-1"]
    (above / "deep").rename(runs)


def test_a_run_that_is_given_twice_counts_once(runs, capsys):
    assert main(["compare", str(runs), str(runs / "sparse-0"), "--json"]) == 0
    named = [row[0] for row in json.loads(capsys.readouterr().out)["tables"][1]["rows"]]
    assert named == ["darts-0", "darts-1 (not finished)", "sparse-0", "sparse-1"]


def test_without_runs_table_1_is_the_papers():
    rows = {row[0]: row[1:] for row in table1([]).rows}
    assert len(rows) == 17
    assert rows["GAEA"] == ("97.50 c", "-", "94.10 c", "72.60 c")


def test_a_run_that_cannot_be_compared_is_named(tmp_path, runs, capsys):
    assert main(["compare", str(tmp_path / "nowhere")]) == 2
    assert "there is no run folder" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["compare", str(tmp_path / "empty")]) == 2
    assert "holds no cell" in capsys.readouterr().err
    assert main(["compare", str(runs), "--columns", "acuracy"]) == 2
    assert "Did you mean 'accuracy'" in capsys.readouterr().err
    (runs / "sparse-0" / "evaluation" / "result.json").write_text("{")
    assert main(["compare", str(runs)]) == 2
    assert "result.json is damaged" in capsys.readouterr().err


def test_markdown_escapes_what_would_end_a_field(runs):
    grid = run_grid(groups_of(runs))
    assert to_markdown(grid).splitlines()[1] == "|---" * len(grid.header) + "|"


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("trace.jsonl", lambda text: text.replace('"seconds": 30.0', '"seconds": "30"', 1), "line 1, .*seconds"),
        ("trace.jsonl", lambda text: text.replace('"macs": 1000', '"macs": null', 1), "line 1, .*macs"),
        ("trace.jsonl", lambda text: text.replace("1.0", "NaN", 1), "line 1, is damaged: NaN is not a number"),
        ("trace.jsonl", lambda text: "null\n" + text, "line 1, is damaged: it does not hold an object"),
        ("trace.jsonl", lambda text: "[" * 9999 + "]" * 9999 + "\n" + text, "line 1, is damaged: it nests deeper"),
        ("run.json", lambda text: text.replace('"seed": 0', '"seed": [0]'), "settings: their seed is not an integer"),
        ("run.json", lambda text: text.replace('"sparse"', "7"), "method.name"),
        ("run.json", lambda text: text.replace('"name": "cifar10[100]"', '"name": {}'), "data.name"),
        ("evaluation/result.json", lambda text: text.replace("0.6,", '"good",'), "accuracy"),
        ("evaluation/run.json", lambda text: text.replace('"epochs": 5', '"epochs": 1e400'), "too large a number"),
        ("genotype.json", lambda text: text.replace('"version": 1', '"version": [1]'), "'version' must be a int"),
    ],
)
def test_a_damaged_run_is_not_compared_but_named_with_the_place(file, change, words, tmp_path, capsys):
    path = make_run(tmp_path / "sparse-0", accuracy=0.6) / file
    path.write_text(change(path.read_text()))
    assert main(["compare", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"{re.escape(file)}.*{words}", line)


def test_only_numbers_can_be_tabled_by_epoch(runs, capsys):
    assert main(["compare", str(runs), "--epochs", "stage"]) == 2
    assert "no run has 'stage'" in capsys.readouterr().err


def test_a_folder_may_be_called_anything(tmp_path):
    run = make_run(tmp_path / "two\nlines-3")
    (run / "run.json").unlink()
    assert (read_found(run).method, read_found(run).seed) == ("two\nlines", 3)


def test_an_operation_leads_on_an_edge_if_it_alone_has_the_largest_weight(tmp_path, capsys):
    folder = make_run(tmp_path / "sparse-0")
    space = json.loads((folder / "run.json").read_text())["space"]
    edges = {"edges": [[0, 2], [1, 2], [0, 3]], "ops": [["none", "conv"]] * 3}
    changed(folder / "run.json", space={**space, "ops": ["none", "conv"], "cells": {"normal": edges}})
    line = json.loads((folder / "trace.jsonl").read_text().splitlines()[0])
    line |= {"mix": [[0.4, 0.6], [0.5, 0.5], [0.0, 0.1]], "keep": [[True, True]] * 3}
    (folder / "trace.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["compare", str(tmp_path), "--columns", "won/none,won/conv", "--markdown"]) == 0
    assert "| sparse-0 | 0 | 2 |" in capsys.readouterr().out
