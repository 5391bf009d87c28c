"""The architecture, read from the source: imports point downward, and importing does nothing."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import diffnas

ROOT = Path(diffnas.__file__).parent

# From the ground up; a module may import from its own layer and from those below.
LAYERS = (
    ("convolutions", "files", "run_files", "version"),
    ("former", "values"),
    ("catalog", "lookup", "names", "parallel", "roles", "sources", "task", "untrusted"),
    ("run_folder", "skeleton"),
    ("space",),
    ("genotype",),
    ("components", "data"),
    ("nets",),
    ("backends",),
    ("method", "recipes"),
    ("engine",),
    ("report", "tables", "deploy"),
    ("api",),
    ("sweeps",),
    ("cli",),
    ("__main__",),
)
HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}

MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(module: str) -> str | None:
    """The first part of a module's name after ``diffnas``; None for the package itself."""
    parts = module.split(".")
    return parts[1] if parts[0] == "diffnas" and len(parts) > 1 else None


def name_of(path: Path) -> str:
    return ".".join(("diffnas", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """All of a file that runs: not what stands under ``if TYPE_CHECKING``."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            yield node
            yield from running(node)


def imports_of(path: Path, nodes: Callable[[ast.AST], Iterator[ast.AST]] = ast.walk) -> set[str]:
    """Every module of ours that a file imports, wherever in the file it does so."""
    found: set[str] = set()
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole path"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                file = ROOT.parent / Path(*whole.split("."))
                is_module = file.with_suffix(".py").exists() or file.is_dir()
                found.add(whole if is_module else str(node.module))
    return {name for name in found if name.split(".")[0] == "diffnas"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_downward(path: Path):
    own = room(name_of(path))
    assert own in HEIGHT, f"{own} has no place in the layers yet"
    for imported in imports_of(path):
        other = room(imported)
        assert other is not None, f"{name_of(path)} imports the package itself, which stands above all"
        assert HEIGHT[other] <= HEIGHT[own], f"{name_of(path)} imports {imported}, which stands above it"


def test_rooms_of_one_layer_do_not_lean_on_each_other():
    for path in MODULES:
        own = room(name_of(path))
        for imported in imports_of(path):
            other = room(imported)
            if other is not None and other != own:
                assert HEIGHT[other] < HEIGHT[own], f"{name_of(path)} imports {imported}, which stands beside it"


def test_no_module_imports_itself_through_others():
    graph = {name_of(path): imports_of(path, running) - {name_of(path)} for path in MODULES}
    while leaves := [name for name, imported in graph.items() if not imported & set(graph)]:
        for name in leaves:
            del graph[name]
    # What imports a circle remains beside it; what nothing imports is no part of one.
    while tops := set(graph) - {name for imported in graph.values() for name in imported}:
        graph = {name: imported for name, imported in graph.items() if name not in tops}
    assert {name: sorted(imported & set(graph)) for name, imported in graph.items()} == {}


def test_reports_read_run_folders_and_never_live_objects():
    for path in (ROOT / "report").rglob("*.py"):
        engine = {name for name in imports_of(path) if room(name) == "engine"}
        assert not engine, f"{name_of(path)} imports {engine}"


def test_what_a_network_is_knows_no_backend():
    for path in (ROOT / "nets").rglob("*.py"):
        assert not [name for name in imports_of(path) if room(name) == "backends"], f"{name_of(path)} imports a backend"


def test_only_the_methods_file_compares_a_method_with_a_name():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and isinstance(node.left, ast.Name | ast.Attribute):
                word = node.left.id if isinstance(node.left, ast.Name) else node.left.attr
                text = [part for part in node.comparators if isinstance(part, ast.Constant)]
                texts = [part for part in text if isinstance(part.value, str)]
                assert not (word == "method" and texts), f"{path} branches on a method's name"


def test_only_the_text_forms_of_genotypes_compare_a_skeleton_with_a_name():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and path.parent.name != "genotype":
                parts = list(ast.walk(node))
                words = {part.attr for part in parts if isinstance(part, ast.Attribute)}
                words |= {part.id for part in parts if isinstance(part, ast.Name)}
                texts = [part for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
                asks = {"NAS_BENCH_201", "DARTS"} & words or ("skeleton" in words and texts)
                assert not asks, f"{path}:{node.lineno} asks which skeleton it is; ask the skeleton what it does"


WATCH = """
import json, os, pathlib, random, sys, tempfile
os.chdir(tempfile.mkdtemp())
light = {}
for room in ("", ".catalog", ".space", ".genotype", ".lookup", ".sources", ".roles", ".recipes", ".engine.settings"):
    name = f"diffnas{room}"
    __import__(name)
    light[name] = "torch" in sys.modules
import lightning_fabric, numpy, rich.style, torch  # what these do when they are imported is not ours
random.seed(1); numpy.random.seed(1); torch.manual_seed(1)
before = lambda: (
    hash(random.getstate()), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist(),
    torch.get_num_threads(), str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.get_default_device().type,
    torch.are_deterministic_algorithms_enabled(), torch.cuda.is_initialized(), sorted(os.environ.items()),
)
first = before()
failed = []
for name in json.loads(sys.argv[1]):
    try:
        __import__(name)
    except ImportError as error:
        if (error.name or "").startswith("diffnas"):
            raise
        if error.name != "triton":  # the only one that the tests do not install: it comes with PyTorch for CUDA
            failed.append(f"{name}: {error}")
names = ("random", "numpy", "torch", "threads", "dtype", "grad", "device", "deterministic", "cuda", "environment")
changed = [name for name, a, b in zip(names, first, before()) if a != b]
print(json.dumps({"light": light, "changed": changed, "failed": failed, "left": os.listdir(".")}))
"""


def test_importing_has_no_effects_and_plain_data_needs_no_torch():
    names = json.dumps([name_of(path) for path in MODULES if path.stem != "__main__"])
    done = subprocess.run(
        [sys.executable, "-c", WATCH, names], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert done.stdout.count("\n") == 1, "importing prints something"
    assert seen == {"light": dict.fromkeys(seen["light"], False), "changed": [], "failed": [], "left": []}
