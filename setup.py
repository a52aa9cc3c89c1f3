"""Packaging of pe_dense. Pure Python: no compiler is needed."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "pe_dense" / "__init__.py").read_text())
assert VERSION is not None
FORMATS = ["h5py>=3.8", "OpenEXR>=3.3"]  # NYU Depth v2's .mat, EXR depth maps
ONNX = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]  # writing .onnx files, and checking them


class BuildWithRecipes(build_py):
    """An installed package brings the recipes along, as ``pe_dense/configs``: the model zoo reads them."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            shutil.copytree(ROOT / "configs", Path(self.build_lib) / "pe_dense" / "configs", dirs_exist_ok=True)


setup(
    name="pe_dense",
    version=VERSION.group(1),
    description="Dense prediction with Meta's Perception Encoder: detection, segmentation, depth, tracking",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["pe_dense", "pe_dense.*", "projects", "projects.*"]),
    package_data={
        "pe_dense": ["py.typed"],
        "pe_dense.model_zoo": ["categories/*.json"],
        "projects.deta": ["configs/*.py", "configs/common/*.py"],
    },
    cmdclass={"build_py": BuildWithRecipes},
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        "scipy>=1.11",
        "fvcore>=0.1.5",
        "pycocotools>=2.0.8",
        "opencv-python-headless>=4.11",
        "av>=17",  # PyAV: videos; earlier ones write other colours
        "omegaconf>=2.3",
        "pyyaml>=6",
        "pillow>=10",
        "submitit>=1.5",
        "hotcoco>=1.3",
        "safetensors>=0.4",
        "huggingface_hub>=0.24",
        "orjson>=3.9",
        "rich>=13",
        "tensorboard>=2.16",
        "matplotlib>=3.8",
    ],
    extras_require={
        "formats": FORMATS,
        "onnx": ONNX,
        "dev": [
            *FORMATS,
            *ONNX,
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
            "mypy>=1.11",
            "timm>=1.0.31",
            "supervision>=0.27",
        ],
    },
)
