"""A stranger's network: what its record says is checked, backed by its weights, and never becomes code."""

import ast
import json
import time
from dataclasses import replace

import pytest

import diffnas
from diffnas.deploy.source import source
from diffnas.engine.trained import save_trained
from diffnas.genotype import Cell, Connection, Genotype, to_json

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|"
CODE = '"""\nimport os\nos.system("touch /tmp/mark")\n"""'


@pytest.fixture
def changed(trained, tmp_path):
    """The folder of a network whose record was changed at a place."""
    save_trained(tmp_path, trained(CELL))
    (tmp_path / "digests.json").unlink()  # a stranger's folder need not have them

    def change(place, value):
        record = json.loads((tmp_path / "network.json").read_text())
        *way, last = place.split(".")
        inner = record
        for key in way:
            inner = inner[key]
        inner[last] = value
        (tmp_path / "network.json").write_text(json.dumps(record))
        return tmp_path

    return change


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((place, CODE) for place in ("size", "mean", "std", "channels", "classes", "network.stem", "network.depth")),
        ("size", [CODE, 8]),
        ("size", [8]),
        ("size", [8, 10**9]),
        ("size", [8.0, 8.0]),
        ("mean", [CODE]),
        ("mean", [0.1, 0.2]),
        ("mean", [float("nan")]),
        ("std", [0]),
        ("std", [float("inf")]),
        ("levels", CODE),
        ("levels", [1.0]),
        ("levels", [5.0, 1.0]),
        ("classes", [1, 2]),
        ("classes", []),
        ("channels", True),
        ("channels", 10**18),
        ("network.channels", 10**9),
        ("network.channels", 50_000),
        ("network.depth", 10**12),
        ("network.depth", 900),
        ("network.kernels", "stock"),
        ("version", 2),
        ("genotype", None),
    ],
)
def test_a_record_that_is_no_networks_is_refused_in_no_time(place, value, changed):
    folder = changed(place, value)
    started = time.perf_counter()
    with pytest.raises(ValueError, match=r"cannot be read|is damaged: .* not a number") as error:
        diffnas.load(folder)
    assert len(str(error.value).splitlines()) == 1
    assert time.perf_counter() - started < 5


def test_cells_of_more_operations_than_any_network_has_are_not_built(changed):
    many = Cell(inputs=1, nodes=2, connections=(Connection("skip_connect", 0, 1),) * 5000, output=(1,))
    genotype = Genotype(skeleton="nas-bench-201", cells={"normal": many})
    folder = changed("genotype", json.loads(to_json(genotype)))
    with pytest.raises(ValueError, match="15,000 operations are more than any network has"):
        diffnas.load(folder)


def test_the_error_names_the_weight_that_does_not_fit(changed):
    with pytest.raises(ValueError, match=r"does not fit network\.json: stem\.first\.0\.weight is \(4, 1, 3, 3\)"):
        diffnas.load(changed("network.channels", 8))


@pytest.mark.parametrize("name", [CODE, '"', "'", "\\", "a\\", "{{ 7 * 7 }}", "\n", "\u2028", "\x00", "#", 'it\'s "x"'])
def test_the_name_of_a_class_is_a_text_in_the_source_whatever_it_is(name, trained):
    network = trained(CELL)
    tree = ast.parse(source(replace(network, classes=(name, *network.classes[1:]))))
    (classes,) = (
        part.value for part in tree.body if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) == "CLASSES"
    )
    assert ast.literal_eval(classes) == (name, *network.classes[1:])
    plain = ast.parse(source(network))
    assert [type(part) for part in tree.body] == [type(part) for part in plain.body]
