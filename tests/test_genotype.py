import json
import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffnas.genotype import (
    PUBLISHED,
    Cell,
    Connection,
    Genotype,
    canonical,
    from_json,
    load,
    parse,
    published,
    read,
    save,
    to_json,
    to_nas_bench_201,
    to_text,
)
from diffnas.space import DARTS_OPS, NAS_BENCH_201_OPS

RESNET = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|skip_connect~2|"


def cell(*connections, inputs=2, nodes=6, output=(2, 3, 4, 5)):
    return Cell(inputs=inputs, nodes=nodes, connections=tuple(Connection(*c) for c in connections), output=output)


SOUND = cell(*(("sep_conv_3x3", source, target) for target in range(2, 6) for source in (0, 1)))


def darts(normal, reduce=SOUND):
    return Genotype(skeleton="darts", cells={"normal": normal, "reduce": reduce})


def all_nas_bench_201():
    form = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|"
    return [parse(form.format(*ops)) for ops in product(NAS_BENCH_201_OPS, repeat=6)]


def write(normal="[]", normal_concat="range(2, 6)", reduce="[]", reduce_concat="range(2, 6)"):
    return f"Genotype(normal={normal}, normal_concat={normal_concat}, reduce={reduce}, reduce_concat={reduce_concat})"


# --- what a cell is -----------------------------------------------------------------------------------------------


def test_what_no_input_feeds_is_dead_and_so_is_what_only_dead_nodes_feed():
    dead = cell(("sep_conv_3x3", 0, 2), ("skip_connect", 3, 4), ("skip_connect", 4, 5), ("max_pool_3x3", 2, 5))
    assert dead.live == {2, 5}
    assert dead.joined == (2, 5)
    assert dead.effective == (dead.connections[0], dead.connections[3])


def test_a_connection_that_leads_nowhere_is_effective_but_not_used():
    side = cell(("noise", 0, 2), ("noise", 0, 3), ("noise", 3, 4), output=(4,))
    assert side.effective == side.connections
    assert side.used == side.connections[1:]


def test_depth_is_the_longest_chain_to_the_output():
    assert published("PR_DARTS").cells["normal"].depth == 4
    assert SOUND.depth == 1
    assert cell().depth == 0


def test_count_counts_an_operation_twice_on_the_same_edge():
    assert published("NASNet").cells["normal"].count("avg_pool_3x3") == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": 0}, "1 or 2 inputs, not 0"),
        ({"nodes": 2, "output": ()}, "has 3 to 1000 nodes, not 2"),
        ({"nodes": 10**9}, "to 1000 nodes"),
        ({"connections": (Connection("none", 0, 2),)}, "'none' cannot be an operation"),
        ({"connections": (Connection("a|b", 0, 2),)}, "cannot be an operation"),
        ({"connections": (Connection("noise", 2, 2),)}, "noise leads from node 2 into node 2"),
        ({"connections": (Connection("noise", 3, 2),)}, "from a lower node into one of the computed nodes 2 to 5"),
        ({"connections": (Connection("noise", 0, 1),)}, "from a lower node"),
        ({"connections": (Connection("noise", -1, 2),)}, "from a lower node"),
        ({"connections": (Connection("noise", 0, 6),)}, "from a lower node"),
        ({"connections": (Connection("noise", 0, 3), Connection("noise", 0, 2))}, "sorted by target"),
        ({"output": ()}, "output must name distinct nodes of 2 to 5"),
        ({"output": (2, 2)}, "output must name distinct nodes"),
        ({"output": (1,)}, "output must name distinct nodes"),
        ({"output": (6,)}, "output must name distinct nodes"),
    ],
)
def test_a_cell_that_cannot_be_is_refused(changes, message):
    fields = {"inputs": 2, "nodes": 6, "connections": (), "output": (2, 3, 4, 5)}
    with pytest.raises(ValueError, match=message):
        Cell(**{**fields, **changes})


@pytest.mark.parametrize(
    ("skeleton", "cells", "message"),
    [
        ("dart", {"normal": SOUND}, "unknown skeleton 'dart'"),
        ("darts", {"normal": SOUND}, "takes cells of the kinds"),
        ("nas-bench-201", {"normal": SOUND}, "one input, and only its last node"),
        ("nas-bench-201", {"normal": cell(inputs=1, nodes=4, output=(2,))}, "one input, and only its last node"),
    ],
)
def test_a_genotype_must_fit_its_skeleton(skeleton, cells, message):
    with pytest.raises(ValueError, match=message):
        Genotype(skeleton=skeleton, cells=cells)


# --- degenerate cells ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("genotype", "problems"),
    [
        (darts(SOUND), ()),
        (
            darts(cell(("noise", 0, 2), ("sep_conv_3x3", 3, 4), ("sep_conv_3x3", 0, 5), ("skip_connect", 3, 5))),
            (
                "normal cell: node 3 is dead: nothing feeds it.",
                "normal cell: node 4 is dead: it reads only dead nodes (3).",
                "normal cell: skip_connect from node 3 to node 5 has no effect: node 3 is dead.",
            ),
        ),
        (
            darts(SOUND, cell(("sep_conv_3x3", 0, 2), output=(3,), nodes=4)),
            (
                "reduce cell: node 3 is dead: nothing feeds it.",
                "reduce cell: no path leads from an input to the output.",
            ),
        ),
        (
            darts(SOUND, cell(("noise", 0, 2), ("noise", 1, 3), nodes=4, output=(3,))),
            ("reduce cell: node 2 is never read: no path leads from it to the output.",),
        ),
        (
            darts(SOUND, cell(("skip_connect", 0, 2), ("skip_connect", 2, 3), nodes=4, output=(2, 3))),
            ("reduce cell: only skip connections lead to the output.",),
        ),
        (
            darts(cell(("skip_connect", 0, 2), ("avg_pool_3x3", 2, 3), nodes=4, output=(2, 3))),
            ("normal cell: nothing in it can learn, it has only avg_pool_3x3, skip_connect.",),
        ),
        (
            parse("|skip_connect~0|+|skip_connect~0|nor_conv_3x3~1|+|skip_connect~0|"),
            (
                "normal cell: node 1 is never read: no path leads from it to the output.",
                "normal cell: node 2 is never read: no path leads from it to the output.",
                "normal cell: only skip connections lead to the output.",
            ),
        ),
    ],
)
def test_a_degenerate_cell_is_named(genotype, problems):
    assert genotype.problems() == problems


def test_of_the_published_cells_only_fair_darts_has_problems():
    assert {name for name in PUBLISHED if published(name).problems()} == {f"FairDARTS_{x}" for x in "aceg"}


def test_the_dead_skip_of_fair_darts_c_is_named():
    assert published("FairDARTS_c").problems() == (
        "normal cell: node 3 is dead: nothing feeds it.",
        "normal cell: skip_connect from node 3 to node 5 has no effect: node 3 is dead.",
    )


# --- text forms ---------------------------------------------------------------------------------------------------


def test_pairs_belong_to_the_nodes_in_turn():
    text = write(normal="[('a', 1), ('b', 0), ('c', 2), ('c', 2)]", normal_concat="[2, 3]")
    assert parse(text).cells["normal"] == cell(
        ("a", 1, 2), ("b", 0, 2), ("c", 2, 3), ("c", 2, 3), nodes=4, output=(2, 3)
    )


def test_triples_name_the_target_before_the_source_and_may_come_in_any_order():
    text = write(normal="[('b', 4, 3), ('a', 2, 1), ('c', 4, 0)]", normal_concat="[2, 4]")
    assert parse(text).cells["normal"] == cell(("a", 1, 2), ("b", 3, 4), ("c", 0, 4), nodes=5, output=(2, 4))


def test_none_is_dropped_from_pairs_without_moving_the_others():
    text = write(normal="[('none', 0), ('a', 1), ('b', 0), ('none', 2)]", normal_concat="range(2, 4)")
    assert parse(text).cells["normal"].connections == (Connection("a", 1, 2), Connection("b", 0, 3))


def test_a_text_may_be_assigned_to_a_name_and_its_arguments_may_be_positional():
    text = "DARTS_V9 = Genotype([('a', 0), ('b', 1)], [2], reduce=[], reduce_concat=(2,),)"
    assert parse(text).cells["normal"].connections == (Connection("a", 0, 2), Connection("b", 1, 2))


def test_a_partial_nas_bench_201_string_is_completed_and_sorted():
    partial = "|nor_conv_3x3~0|+|nor_conv_3x3~1|+|skip_connect~2|skip_connect~0|"
    assert to_nas_bench_201(parse(partial)) == RESNET
    assert parse(partial) == parse(RESNET)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_cell_survives_its_text_and_its_json(name):
    genotype = published(name)
    assert parse(PUBLISHED[name].text) == parse(to_text(genotype)) == parse(to_json(genotype)) == genotype
    assert PUBLISHED[name].source


@pytest.mark.parametrize(("name", "nodes"), [("DARTS_V2", 6), ("NASNet", 7), ("AmoebaNet", 7), ("ENASNet", 7)])
def test_the_number_of_nodes_follows_from_the_text(name, nodes):
    assert {cell.nodes for cell in published(name).cells.values()} == {nodes}


def test_darts_v2_is_what_was_published():
    assert PUBLISHED["DARTS_V2"].text == write(
        normal="[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
        "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)]",
        reduce="[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), "
        "('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)]",
    )


@pytest.mark.parametrize(
    ("name", "normal", "reduce"),
    [("NASNet", (2, 3, 4, 5, 6), (4, 5, 6)), ("AmoebaNet", (4, 5, 6), (3, 4, 6)), ("SNAS", (2, 3, 4, 5), (2, 3, 4, 5))],
)
def test_a_published_cell_joins_its_own_nodes(name, normal, reduce):
    cells = published(name).cells
    assert (cells["normal"].output, cells["reduce"].output) == (normal, reduce)


def test_text_has_pairs_where_it_can_and_triples_where_it_must():
    assert "('sep_conv_3x3', 0), " in to_text(published("DARTS_V2"))
    assert "('sep_conv_3x3', 2, 0), " in to_text(published("FairDARTS_a"))


def test_a_cell_that_no_shared_form_can_hold_becomes_json():
    loose = darts(cell(("noise", 0, 2), nodes=5, output=(2,)))
    one_input = darts(cell(("noise", 0, 1), inputs=1, nodes=2, output=(1,)))
    for genotype in (loose, one_input):
        assert to_text(genotype) == to_json(genotype)
        assert parse(to_text(genotype)) == genotype


@st.composite
def cells(draw, inputs, ops, last_only=False):
    nodes = draw(st.integers(inputs + 1, inputs + 5))
    edges = [(s, t) for t in range(inputs, nodes) for s in range(t)]
    connection = st.tuples(st.sampled_from([op for op in ops if op != "none"]), st.sampled_from(edges))
    listed = [Connection(op, s, t) for op, (s, t) in draw(st.lists(connection, max_size=14))]
    output = st.lists(st.integers(inputs, nodes - 1), min_size=1, unique=True).map(tuple)
    return Cell(
        inputs=inputs,
        nodes=nodes,
        connections=tuple(sorted(listed, key=lambda c: c.target)),
        output=(nodes - 1,) if last_only else draw(output),
    )


genotypes = st.one_of(
    st.builds(darts, cells(2, DARTS_OPS), cells(2, DARTS_OPS)),
    st.builds(darts, cells(1, ["mine.v-2", "skip_connect"]), cells(2, DARTS_OPS)),
    cells(1, NAS_BENCH_201_OPS, last_only=True).map(
        lambda cell: Genotype(skeleton="nas-bench-201", cells={"normal": cell})
    ),
)


@settings(deadline=None)
@given(genotypes)
def test_any_genotype_survives_its_text_and_its_json(genotype):
    assert parse(to_text(genotype)) == genotype
    assert from_json(to_json(genotype)) == genotype


@settings(deadline=None)
@given(genotypes)
def test_what_is_used_is_effective_and_what_is_effective_is_listed(genotype):
    for cell in genotype.cells.values():
        assert set(cell.used) <= set(cell.effective) <= set(cell.connections)
        assert bool(cell.used) == bool(cell.joined) == (cell.depth > 0)
        assert isinstance(genotype.problems(), tuple)


@settings(deadline=None)
@given(st.text(alphabet="Genotype(normal=[],'op~|+0123{}:\" \n"))
def test_nonsense_is_refused_with_a_value_error(text):
    with pytest.raises(ValueError):
        parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a NAS-Bench-201 string or JSON, got ''"),
        ("__import__('os').system('touch gone')", "line 1, column 1: expected Genotype"),
        (write(normal="[(__import__('os').getcwd(), 0), ('a', 1)]"), "expected the name of an operation, in quotes"),
        (write(normal="[('a', __import__('os').getpid()), ('a', 1)]"), "expected the number of a node"),
        (write(normal="[('a', 0) for _ in range(2)]"), "expected a list"),
        (write(normal_concat="list(range(2, 6))"), "expected a list of nodes or a range"),
        (write(normal_concat="range(2, 1000000000)"), "a node, below 1000, got '1000000000'"),
        (write(normal_concat="range(*[2, 6])"), "expected the number of a node"),
        (write(normal_concat="range(2, 6, 1)"), r"expected range\(first, last \+ 1\)"),
        (write(normal_concat="[True]"), "expected the number of a node"),
        (write(normal_concat="[-1]"), "expected the number of a node"),
        (write(normal="[('a', 0), ('a', 2, 0)]"), "pairs, two for each node, or triples only"),
        (write(normal="[('a', 0)]"), "pairs, two for each node, or triples only"),
        (write(normal="['a', 0]"), r"column 18: expected \(op, source\) or \(op, target, source\), got \"'a'\""),
        (write(normal="[('a', 3), ('a', 0)]"), "a leads from node 3 into node 2"),
        (write(normal="[('a', 1, 0)]"), "a leads from node 0 into node 1"),
        (write(normal_concat="[2, 2]"), "output must name distinct nodes"),
        ("Genotype(normal=[], normal_concat=[2], reduce=[])", "the arguments normal, normal_concat, reduce"),
        ("Genotype(normal=[], normal_concat=[2], reduce=[], reduce_concat=[2], more=1)", "each once"),
        ("Genotype(**{})", "each once"),
        ("Genotype(normal=[], normal=[], normal_concat=[2])", "each once"),
        ("Genotype(normal=[], normal_concat=[2], reduce=[], reduce_concat=[2]); print(1)", "expected Genotype"),
        ("-" * 200_000, "200000 characters are too many"),
        ("Genotype(" + "[" * 5000, "expected Genotype"),
        ("Genotype(\0)", "null bytes"),
        ("|a~1|", r"node 1 of '\|a~1\|': expected op~source with a source below 1, got 'a~1'"),
        ("|a~0|+||", "node 2 of"),
        ("|a~0|+", "node 2 of"),
        ("|a~0~1|", "expected op~source"),
        ("|a|", "expected op~source"),
        ("|a~0|+|a~-1|", "expected op~source"),
    ],
)
def test_a_bad_text_is_refused_with_what_was_expected(text, message):
    with pytest.raises(ValueError, match=message):
        parse(text)


# --- NAS-Bench-201 ------------------------------------------------------------------------------------------------


def test_the_cells_of_nas_bench_201_give_the_published_number_of_canonical_strings():
    everything = all_nas_bench_201()
    assert len(everything) == 15_625
    assert len({canonical(genotype) for genotype in everything}) == 6466
    assert len({to_nas_bench_201(genotype) for genotype in everything}) == 15_625
    assert sum(not genotype.cells["normal"].joined for genotype in everything) == 341


def test_reading_the_input_through_a_skip_does_not_change_the_canonical_string():
    direct = "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|"
    through = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|skip_connect~2|"
    assert canonical(parse(direct)) == canonical(parse(through)) != canonical(parse(RESNET))


@pytest.mark.parametrize("write_out", [to_nas_bench_201, canonical])
def test_a_darts_cell_has_no_nas_bench_201_string(write_out):
    with pytest.raises(ValueError, match="expected a 'nas-bench-201' genotype, got one of the 'darts' skeleton"):
        write_out(darts(SOUND))


# --- JSON, files, names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "other", "expected schema 'diffnas/genotype', version 1, got 'other', version 1"),
        (("version",), 2, "got 'diffnas/genotype', version 2; a newer diffnas may read it"),
        (("version",), True, "'version' must be a int, got 'True'"),
        (("version",), None, "lacks 'version'"),
        (("skeleton",), None, "lacks 'skeleton'"),
        (("skeleton",), "dart", "unknown skeleton 'dart'"),
        (("cells",), [], "'cells' must be a dict"),
        (("cells", "reduce"), None, "takes cells of the kinds"),
        (("cells", "reduce"), 5, "lacks 'connections' in '5'"),
        (("cells", "normal", "nodes"), 1.5, "'nodes' must be a int, got '1.5'"),
        (("cells", "normal", "output"), ["2"], "'output' must list numbers of nodes"),
        (("cells", "normal", "connections"), [["noise", 0, 2]], "lacks 'op'"),
        (("cells", "normal", "connections"), [{"op": "noise", "source": 4, "target": 2}], "noise leads from node 4"),
    ],
)
def test_json_that_is_no_genotype_is_refused(path, value, message):
    record = json.loads(to_json(darts(SOUND)))
    *way, last = path
    inner = record
    for key in way:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(record))


def test_a_cell_of_more_connections_than_anybody_searches_is_refused():
    many = (Connection("skip_connect", 0, 1),) * 10_001
    with pytest.raises(ValueError, match="10000 connections at most, not 10001"):
        Cell(inputs=1, nodes=2, connections=many, output=(1,))


@pytest.mark.parametrize("text", ["", "[1]", "{", "{" * 100_000, '{"a":' * 100_000])
def test_text_that_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"not JSON|lacks 'schema'|nests deeper"):
        from_json(text)


def test_a_saved_genotype_is_read_back_from_its_file_or_its_folder(tmp_path):
    genotype = published("FairDARTS_c")
    save(darts(SOUND), tmp_path / "genotype.json")
    save(genotype, tmp_path / "genotype.json")
    assert load(tmp_path / "genotype.json") == read(str(tmp_path)) == read(tmp_path / "genotype.json") == genotype
    assert [file.name for file in tmp_path.iterdir()] == ["genotype.json"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "genotype.json"
    save(darts(SOUND), path)

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(published("SNAS"), path)
    assert load(path) == darts(SOUND)


@pytest.mark.parametrize("what", [RESNET, f"  {RESNET}\n", to_json(parse(RESNET))])
def test_read_takes_a_text(what):
    assert read(what) == parse(RESNET)


def test_read_takes_a_text_in_a_file_and_a_published_name(tmp_path):
    (tmp_path / "cell.txt").write_text(f"MINE = {PUBLISHED['SNAS'].text}\n", encoding="utf-8")
    assert read(tmp_path / "cell.txt") == read("SNAS") == published("SNAS")


def test_a_bad_file_is_named_in_the_error(tmp_path):
    (tmp_path / "cell.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match=r"cell\.json is damaged: byte 0 is not text"):
        load(tmp_path / "cell.json")


@pytest.mark.parametrize("what", ["gone.json", "runs/gone", "./gone.txt"])
def test_a_file_that_is_not_there_is_named(what):
    with pytest.raises(ValueError, match="there is no genotype file"):
        read(what)


@pytest.mark.parametrize("find", [read, published])
def test_a_misspelt_name_gets_a_suggestion_and_the_list(find):
    with pytest.raises(ValueError, match=r"unknown genotype 'DARTS_V3'\. Did you mean 'DARTS_V2'\? Known: .*PDARTS"):
        find("DARTS_V3")


def test_a_name_too_long_for_a_file_is_no_accident():
    with pytest.raises(ValueError, match="unknown genotype"):
        read("x" * 5000)


def test_genotypes_need_no_torch():
    code = "import sys, diffnas.genotype as g; g.published('SNAS'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- a cell of its own at every place -----------------------------------------------------------------------------

WIDE = cell(
    ("skip_connect", 0, 2), ("sep_conv_3x3", 0, 2), ("skip_connect", 1, 2), ("sep_conv_3x3", 2, 3),
    ("sep_conv_3x3", 1, 4),
    *(("skip_connect", source, 5) for source in range(4)),
)  # fmt: skip
SKIPS = cell(*(("skip_connect", source, target) for target in range(2, 6) for source in (0, 1)))
OWN = Genotype(skeleton="darts", cells={"cell0": WIDE, "cell1": SOUND, "cell2": SKIPS})


def test_a_cell_may_have_any_number_of_inputs_and_several_operations_between_two_nodes():
    assert [len(WIDE.incoming(node)) for node in range(2, 6)] == [3, 1, 1, 4]
    assert WIDE.used == WIDE.connections


def test_cells_searched_one_by_one_have_one_depth_and_names_after_their_places():
    assert OWN.depth == 3
    assert list(OWN.normal_cells) == ["cell0"]
    assert darts(SOUND).depth is None
    for names in (("cell0", "cell1"), ("cell1", "cell0", "cell2"), ("cell0", "normal", "cell2")):
        with pytest.raises(ValueError, match="takes cells of the kinds"):
            Genotype(skeleton="darts", cells=dict.fromkeys(names, SOUND))


def test_cells_searched_one_by_one_survive_text_and_json():
    assert from_json(to_json(OWN)) == OWN
    assert to_text(OWN).startswith("Genotype(cell0=[('skip_connect', 2, 0), ('sep_conv_3x3', 2, 0), ")
    assert parse(to_text(OWN)) == OWN
    flat = Cell(inputs=1, nodes=2, connections=(Connection("nor_conv_3x3", 0, 1),), output=(1,))
    five = Genotype(skeleton="nas-bench-201", cells={"cell0": flat, "cell2": flat, "cell4": flat})
    assert parse(to_text(five)) == five
    for form in (to_nas_bench_201, canonical):
        with pytest.raises(ValueError, match="holds one cell; this genotype has one for each place"):
            form(five)


def test_text_that_lacks_a_cell_or_its_output_is_refused():
    text = to_text(OWN)
    with pytest.raises(ValueError, match="the arguments cell0, cell0_concat, cell1, cell1_concat"):
        parse(text.replace("cell1_concat", "cell9_concat"))
    with pytest.raises(ValueError, match="takes cells of the kinds"):
        parse(text.replace("cell1", "cell9"))


def test_one_cell_of_skips_among_cells_searched_one_by_one_is_sound_and_all_are_not():
    assert OWN.problems() == ()
    idle = Genotype(skeleton="darts", cells={"cell0": SKIPS, "cell1": SOUND, "cell2": SOUND})
    assert idle.problems() == ("no cell that keeps the resolution can learn.",)
    assert darts(SKIPS).problems() == ("normal cell: only skip connections lead to the output.",)
