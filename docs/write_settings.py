#!/usr/bin/env python
"""Write docs/settings.md from the signatures and docstrings of what the recipes call.

python docs/write_settings.py
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pe_dense import data, engine, evaluation
from pe_dense.config import load_config
from pe_dense.modeling import backbone, classification, depth, detection, multitask, segmentation
