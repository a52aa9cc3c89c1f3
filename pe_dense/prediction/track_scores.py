"""J and F of a probe of tracking, a file per sequence, so that a run that was killed goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from pe_dense.engine.config_diff import changed_keys, describe_changes, flat_config
from pe_dense.engine.run_directory import OUTPUT_KEY, RunDirectoryError, write_whole, writing_to
from pe_dense.evaluation import ObjectScores
from pe_dense.structures.wording import counted

NOTE = "probe.json"

Scores = Mapping[int, Sequence[ObjectScores]]
"""Of each layer, the scores of a sequence's objects."""


class TrackScores:
    """A folder of scores, with a note that tells whose they are.

    Args:
        folder: ``tracking/`` of a run directory.
        of: what all scores depend on, by readable names.
    """

    def __init__(self, folder: Path, of: Mapping[str, Any]) -> None:
        self.folder = folder
        self._of = orjson.loads(orjson.dumps(of))
        self._files = folder / "sequences"

    def check(self, resume: bool, overwrite: bool) -> None:
        """May a run write here? Nothing is written.

        Raises:
            RunDirectoryError: if there are scores and the run neither continues nor overwrites them, or it continues
                those of another encoder or other settings.
        """
        note = self.folder / NOTE
        if not note.is_file() or (overwrite and not resume):
            return
        if not resume:
            done = counted(sum(1 for _ in self._files.glob("*.json")), "sequence")
            raise RunDirectoryError(
                f"{self.folder} already holds the scores of {done}: continue with --resume, choose another "
                f"{OUTPUT_KEY}, or delete them with train.overwrite=true"
            )
        try:
            saved = flat_config(orjson.loads(note.read_bytes()))
        except (orjson.JSONDecodeError, AttributeError):
            raise RunDirectoryError(
                f"{note} is damaged: delete {self.folder}, or choose another {OUTPUT_KEY}"
            ) from None
        present = flat_config(self._of)
        changed = changed_keys(saved, present)
        if changed:
            raise RunDirectoryError(
                f"{self.folder} holds the scores of another probe, which differs in "
                f"{describe_changes(changed, saved, present)}: choose another {OUTPUT_KEY}, or start anew with "
                f"train.overwrite=true and without --resume"
            )

    def begin(self, resume: bool) -> None:
        """Write the note; scores that the run does not continue go."""
        with writing_to(self.folder.parent):
            self._files.mkdir(parents=True, exist_ok=True)
            for path in self._files.glob("*"):
                if not resume or path.suffix == ".tmp":
                    path.unlink()
            write_whole(self.folder / NOTE, orjson.dumps(self._of, option=orjson.OPT_INDENT_2))

    def read(self, sequence: str, key: str) -> Scores:
        """The scores of a sequence; none if there are none, or those of other data.

        Args:
            sequence: its name.
            key: stands for its frames and masks.
        """
        try:
            saved = orjson.loads((self._files / f"{sequence}.json").read_bytes())
        except (FileNotFoundError, orjson.JSONDecodeError):
            return {}
        if saved["key"] != key:
            return {}
        return {
            int(layer): [
                ObjectScores(sequence, one["number"], tuple(one["frames"]), np.array(rows), one["seen"])
                for one, rows in zip(saved["objects"], values)
            ]
            for layer, values in saved["layers"].items()
        }

    def write(self, sequence: str, key: str, scores: Scores) -> None:
        """Write the scores of a sequence, in one go.

        Raises:
            RunDirectoryError: if that cannot be done; the sequences before it are kept.
        """
        [first, *_] = scores.values()
        content = {
            "key": key,
            "objects": [{"number": one.number, "seen": one.seen, "frames": one.frames} for one in first],
            "layers": {str(layer): [one.values.tolist() for one in objects] for layer, objects in scores.items()},
        }
        with writing_to(self.folder.parent):
            write_whole(self._files / f"{sequence}.json", orjson.dumps(content))
