"""Each package of the library imports only from the packages that it may."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / "pe_dense"

TOP = "pe_dense"  # the library itself: its version
ALLOWED = {
    "config": set(),
    "structures": set(),
    "layers": {"structures"},
    "modeling": {"layers", "structures", "config", "modeling/backbone"},  # what joins the parts
    "modeling/backbone": set(),  # a backbone knows no head
    "modeling/detection": {"modeling/backbone"},
    "modeling/depth": {"modeling/backbone"},
    "modeling/segmentation": {"modeling/backbone"},
    "modeling/classification": {"modeling/backbone"},
    "modeling/tracking": {"modeling/backbone"},
    "data": {"structures", "config"},  # run_constant, for what a config takes from the data
    "evaluation": {"structures", "config"},
    "engine": {"config", "structures", "evaluation", TOP},  # the version: checkpoints carry it
    "launch": {"engine", "config", TOP},  # the version: all machines must have the same
    "visualization": {"structures"},
    "prediction": {
        "config",
        "structures",
        "layers",
        "modeling",
        "modeling/backbone",
        "modeling/classification",
        "modeling/tracking",  # which sees videos frame by frame
        "modeling/depth",  # whose depth has a unit, or not
        "modeling/segmentation",  # whose windows slide over images for the features' sake too
        "data",
        "evaluation",
        "engine",
        "visualization",
    },
    "interop": {  # beside other libraries, each module only with its own
        "structures",
        "modeling",
        "modeling/backbone",
        "modeling/detection",
        "data",
    },
    "deployment": {"config", "engine", "modeling", "modeling/backbone", "prediction", TOP},  # files name the version
    "model_zoo": {
        "config",
        "structures",
        "modeling",
        "modeling/backbone",
        "modeling/detection",
        "data",
        "engine",
        "prediction",
    },
}
"""Package -> packages it may import from, besides itself; parts of ``modeling`` also from those of ``modeling``."""


def room_of(parts: list[str]) -> str:
    """The package that a path or dotted name below ``pe_dense`` belongs to."""
    two = "/".join(parts[:2])
    return two if two in ALLOWED else parts[0] if parts and parts[0] in ALLOWED else TOP


def imports_of(path: Path) -> Iterator[list[str]]:
    """Dotted parts, below ``pe_dense``, of everything of ours that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write relative imports in full"
            # what is imported may be a package ("from pe_dense import data") or a name in one
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1:] for name in names if name.split(".")[0] == "pe_dense")


def allowed(room: str) -> set[str]:
    whole = room.split("/")[0]
    return {room, whole} | ALLOWED[room] | ALLOWED[whole]


def test_every_package_has_its_rule() -> None:
    packages = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("*/__init__.py")}
    parts = {path.parent.relative_to(ROOT).as_posix() for path in ROOT.glob("modeling/*/__init__.py")}
    assert packages | parts == set(ALLOWED)


def test_imports() -> None:
    wrong = []
    for path in sorted(ROOT.glob("*/**/*.py")):
        file = path.relative_to(ROOT)
        for target in imports_of(path):
            if room_of(target) not in allowed(room_of(list(file.parts))):
                wrong.append(f"pe_dense/{file} must not import from {room_of(target)}")
    assert not wrong, "\n".join(wrong)


def test_the_library_knows_no_project() -> None:
    wrong = [
        str(p) for p in sorted(ROOT.rglob("*.py")) if re.search(r"^\s*(from|import) projects\b", p.read_text(), re.M)
    ]
    assert not wrong, wrong
