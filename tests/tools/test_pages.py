"""The pages for users say what works: their commands and Python blocks and `make demo`, on a tiny data set."""

import re
import runpy
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pe_dense.data.scenes import write_scenes

from .conftest import ROOT

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = ("make ", "source ", "pip ")  # they would install the project
TINY_MODEL = ["model.backbone.backbone.depth=1", "model.backbone.backbone.embed_dim=32"]
SMALL_CROPS = "data.crop_size=[64,64]"
NO_WORKERS = ["dataloader.train.num_workers=0", "dataloader.test.num_workers=0"]
SMALLER: dict[str, list[str]] = {
    "make_scenes": ["--train", "8", "--val", "4", "--size", "64", "--videos", "0"],
    "train_net": [*TINY_MODEL, *NO_WORKERS, "train.epochs=null", "train.steps=2", "train.device=cpu"],
    "predict": ["--device", "cpu"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the recipes, and the user's data under the names that the pages use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PE_DENSE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    made = write_scenes(tmp_path / "made", train=10, val=2, size=64, videos=0)
    made.train_images.rename(made.root / "images")
    made.train_json.rename(made.root / "instances.json")
    made.train_depth.rename(made.root / "depth")
    made.train_sem_seg.rename(made.root / "masks")
    made.sem_seg_classes.rename(made.root / "classes.json")
    made.val_images.rename(tmp_path / "NEW_IMAGES")
    made.root.rename(tmp_path / "DATA")
    shutil.copy(next((tmp_path / "NEW_IMAGES").iterdir()), tmp_path / "photo.jpg")
    return tmp_path


def run_commands(text: str, run_tool: Callable[..., int]) -> int:
    """Run the tools that a shell block calls; returns their number."""
    count = 0
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.startswith(NOT_RUN):
            continue
        program, script, *arguments = shlex.split(line, comments=True)
        assert Path(program).name == "python", line
        name = Path(script).stem
        assert (ROOT / script).is_file(), line
        smaller = SMALLER.get(name, [])
        if any(argument.startswith("data.json=") for argument in arguments):
            smaller = ["data.image_size=64", *smaller]
        if any(argument.startswith(("data.depths=", "data.masks=")) for argument in arguments):
            smaller = [SMALL_CROPS, *(s for s in smaller if s not in TINY_MODEL)]  # which is small already
        assert run_tool(name, *arguments, *smaller) == 0, line
        if "--output" in arguments:
            assert Path(arguments[arguments.index("--output") + 1]).exists(), line
        count += 1
    return count


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "commands", "blocks"),
    [
        ("README.md", 3, 1),
        ("docs/getting_started.md", 8, 2),
        ("docs/own_data.md", 9, 0),
        ("docs/coming_from_detectron2.md", 1, 1),
    ],
)
def test_page(page: str, commands: int, blocks: int, folder: Path, run_tool: Callable[..., int]) -> None:
    namespace: dict[str, object] = {}
    run = executed = 0
    for kind, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if kind == "bash":
            run += run_commands(code, run_tool)
        else:
            exec(compile(code, page, "exec"), namespace)
            executed += 1
    assert run >= commands
    assert executed >= blocks


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_make_demo_can_be_repeated(folder: Path, run_tool: Callable[..., int]) -> None:
    dry_run = ["make", "--dry-run", "--directory", str(ROOT), "demo", "VENV=none"]
    printed = subprocess.run(dry_run, capture_output=True, text=True, check=True).stdout
    commands = "\n".join(re.findall(r"^none/bin/python tools/(?:.*\\\n)*.*$", printed, re.MULTILINE))
    for _ in range(2):
        assert run_commands(commands, run_tool) == 5
        assert (folder / "output" / "demo" / "vis" / "curves.png").is_file()


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_settings_is_up_to_date() -> None:
    written = runpy.run_path(str(ROOT / "docs" / "write_settings.py"))["page"]()
    assert written == (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), "run python docs/write_settings.py"
    assert not re.search(r"\| +\|$", written, re.MULTILINE), "a setting has no description in its docstring"
