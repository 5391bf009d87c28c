"""The page of a run, as far as it can be read without a browser."""

import base64
import json
import re
import shutil
import subprocess
import sys
from array import array
from html.parser import HTMLParser

import pytest

from diffnas.genotype import read, to_json
from diffnas.report.pack import DEAD, LEVELS, pack
from diffnas.report.page import page, write_report
from diffnas.report.reading import read_run

CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EVEN = [[0.2] * 5] * 6


class Elements(HTMLParser):
    """Every tag with its attributes, and whether what is opened is closed."""

    VOID = ("meta", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.found = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def told(html):
    """The data in a page."""
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.DOTALL)[1])


def test_a_whole_run_reports_on_itself(real_run):
    html = (real_run / "report.html").read_text()
    result = json.loads((real_run / "evaluation/result.json").read_text())
    assert f"{result['test']['accuracy']:.2%}" in html
    assert "Signs of collapse" in html
    assert "How the evaluation was made" in html
    found = told(html)
    assert found["search"]["epochs"] == [1, 2, 3]
    assert found["evaluation"]["test"]["accuracy"] == pytest.approx(result["test"]["accuracy"], rel=1e-4)


def test_a_page_asks_the_network_for_nothing(real_run):
    elements = Elements((real_run / "report.html").read_text())
    assert elements.open == []
    for tag, attributes in elements.found:
        assert "src" not in attributes
        assert attributes.get("href", "data:").startswith("data:"), tag
    policy = next(a["content"] for _, a in elements.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "connect-src 'none'" in policy


def test_weights_come_back_from_the_page_as_they_were(real_run):
    run = read_run(real_run)
    packed = pack(run)["search"]
    levels = array("H", base64.b64decode(packed["weights"]))
    wanted = [
        (w, k)
        for line in run.search.lines
        for row, kept in zip(line.mix, line.keep, strict=True)
        for w, k in zip(row, kept, strict=True)
    ]
    assert len(levels) == len(wanted) == 3 * 6 * 5
    assert any(not kept for _, kept in wanted), "nothing died; the test shows less than it should"
    for level, (weight, kept) in zip(levels, wanted, strict=True):
        assert (level == DEAD) == (not kept)
        if kept:
            assert level / LEVELS * packed["scale"] == pytest.approx(weight, abs=1e-5)


def test_the_cells_of_every_epoch_come_back_from_the_page(real_run):
    run = read_run(real_run)
    packed = pack(run)["search"]
    (kind,) = packed["kinds"]
    for place, genotype in zip(packed["genotypeAt"], run.search.genotypes, strict=True):
        named = {
            (run.search.ops[op], *kind["edges"][edge]) for edge, op in packed["genotypes"][place][kind["name"]]
        }  # fmt: skip
        assert named == {tuple(connection) for connection in genotype.cells["normal"].connections}


def test_a_search_of_200_epochs_stays_small(write_search):
    uneven = [[(e + 1) * (o + 2) % 7 / 21 + 0.01 for o in range(5)] for e in range(6)]
    folder = write_search([(CONV, uneven)] * 200)
    assert write_report(folder).stat().st_size < 250_000


@pytest.mark.parametrize(
    ("epochs", "words"),
    [(0, "No epoch is over yet"), (1, "Search not finished: 1 of 9 epochs"), (4, "The cells so far")],
)
def test_a_run_in_progress_gives_a_page_that_says_so(epochs, words, write_search):
    html = page(read_run(write_search([(CONV, EVEN)] * epochs, planned=9, finished=False)))
    assert words in html
    assert "This run is not finished" in html


def test_half_a_line_at_the_end_of_the_trace_is_not_yet_an_epoch(write_search):
    folder = write_search([(CONV, EVEN)] * 2, finished=False)
    with (folder / "trace.jsonl").open("a") as trace:
        trace.write('{"epoch": 2, "train_')
    assert len(read_run(folder).search.lines) == 2


def test_an_evaluation_alone_has_a_page(real_run, tmp_path):
    shutil.copytree(real_run / "evaluation", tmp_path / "alone")
    html = page(read_run(tmp_path / "alone"))
    assert "How the evaluation was made" in html
    assert "Signs of collapse" not in html


def test_names_with_markup_are_shown_and_not_obeyed(write_search):
    folder = write_search([(CONV, EVEN)], method="</script><script>alert(1)</script>", name="<b>&amp;")
    html = page(read_run(folder))
    assert "<script>alert" not in html
    assert "&lt;b&gt;&amp;amp;" in html
    assert told(html)["name"] == "<b>&amp;"


def broken(folder, name, change):
    text = (folder / name).read_text()
    (folder / name).write_text(change(text))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("run.json", lambda text: "{", r"run\.json is damaged"),
        ("run.json", lambda text: text.replace('"epochs"', '"apochs"'), r"run\.json is damaged.*epochs"),
        ("run.json", lambda text: text.replace('"ops"', '"nothing"'), r"run\.json is damaged.*space\.ops"),
        ("trace.jsonl", lambda text: text.replace('"mix"', '"mash"'), r"trace\.jsonl, line 1, is damaged.*mix"),
        (
            "trace.jsonl",
            lambda text: text.replace("[0.2, 0.2, 0.2, 0.2, 0.2], ", "", 1),
            r"line 1, .*mix and keep are not tables of the same shape",
        ),
        (
            "trace.jsonl",
            lambda text: text.replace("[0.2, 0.2, ", "[0.2, ", 1),
            r"line 1, .*mix and keep are not tables of the same shape",
        ),
        ("trace.jsonl", lambda text: text.replace("diffnas/genotype", "else"), r"line 1, is damaged.*schema"),
        ("genotype.json", lambda text: "[]", r"genotype\.json is damaged"),
    ],
)
def test_a_damaged_folder_is_named_with_what_is_wrong(name, change, words, write_search):
    folder = write_search([(CONV, EVEN)] * 2)
    broken(folder, name, change)
    with pytest.raises(ValueError, match=words):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not a run folder"):
        read_run(tmp_path)


def test_cells_for_each_place_have_their_own_names(write_search):
    from diffnas.space import nas_bench_201, with_own_cells

    folder = write_search([(CONV, EVEN)])
    record = json.loads((folder / "run.json").read_text())
    cells = with_own_cells(nas_bench_201, 5).cells
    record["space"]["cells"] = dict.fromkeys(cells, record["space"]["cells"]["normal"])
    line = json.loads((folder / "trace.jsonl").read_text())
    line |= {name: line[name] * len(cells) for name in ("mix", "keep")}
    line["genotype"]["cells"] = dict.fromkeys(cells, line["genotype"]["cells"]["normal"])
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "trace.jsonl").write_text(json.dumps(line) + "\n")
    (folder / "genotype.json").write_text(json.dumps(line["genotype"]))
    html = page(read_run(folder))
    assert [kind["name"] for kind in told(html)["search"]["kinds"]] == list(cells)
    assert "cell0, cell2, cell4" in html, "cells that look the same are drawn once"


def test_making_the_page_needs_no_torch(real_run):
    """What it shows comes from the folder alone, and it is there at once."""
    code = (
        "import sys; from diffnas.report.page import page; from diffnas.report.reading import read_run; "
        "page(read_run(sys.argv[1])); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(real_run)], check=False).returncode == 0


def test_a_search_with_a_target_shows_what_its_network_costs_and_where_it_landed(write_search):
    folder = write_search([(CONV, EVEN)] * 2)
    plain = page(read_run(folder))
    assert "Cost of the network" not in plain
    cost = {"target": 2e6, "expected": 1.5e6, "read_off": None, "lo": 1e6, "hi": 3e6, "multiplier": 1.2}
    lines = [json.loads(line) | {"cost": {"macs": cost}} for line in (folder / "trace.jsonl").read_text().splitlines()]
    (folder / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "landing.json").write_text(json.dumps({"text": "landed: 1.98 M multiply-adds", "met": True}))
    shown = page(read_run(folder))
    assert "Cost of the network" in shown
    assert "landed: 1.98 M multiply-adds" in shown
    assert 'data-plot="cost-macs"' in shown
    (packed,) = pack(read_run(folder))["search"]["costs"]
    assert packed["target"] == 2e6
    assert packed["read_off"] == [None, None]
    costs = {"macs": 1.98e6, "params": 64_000.0, "memory": 105_472.0, "latency": 0.00022}
    (folder / "landing.json").write_text(json.dumps({"text": "landed", "met": True, "costs": costs}))
    shown = page(read_run(folder))
    assert all(each in shown for each in ("1.98 M", "64 k", "103 KiB", "0.22 ms"))
    assert "at its published size" not in shown
    (folder / "landing.json").write_text('{"text": 3}')
    with pytest.raises(ValueError, match=r"landing\.json is damaged"):
        read_run(folder)
    (folder / "landing.json").write_text(json.dumps({"text": "landed", "met": True, "costs": {"charm": 1.0}}))
    with pytest.raises(ValueError, match=r"landing\.json is damaged"):
        read_run(folder)


def test_a_chain_is_told_as_layers_and_cells_as_graphs(write_search):
    folder = write_search([(CONV, EVEN)] * 2, evaluated=True) / "evaluation"
    said = page(read_run(folder))
    assert "Values flow from left to right" in said
    record = json.loads((folder / "run.json").read_text())
    chain = json.loads(to_json(read("resnet")))
    (folder / "run.json").write_text(json.dumps(record | {"genotype": chain}))
    said = page(read_run(folder))
    assert "Values flow from top to bottom" in said
    assert "from left to right" not in said
