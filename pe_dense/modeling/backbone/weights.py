"""Official Perception Encoder weights: finding, reading, checking and converting them."""

from __future__ import annotations

import logging
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pe_dense.modeling.backbone.vit import PerceptionEncoder

logger = logging.getLogger(__name__)

PatchResize = Literal["bicubic", "pinv"]
_WRAPPERS = ("state_dict", "weights", "model", "model_ema", "module")
# Parts a tower may lack on purpose: a file may hold them although the model does not.
_OPTIONAL = ("attn_pool.", "ln_post.", "proj", "class_embedding")
_TIMM = [
    ("patch_embed.proj.", "conv1."),
    ("norm_pre.", "ln_pre."),
    ("blocks.", "transformer.resblocks."),
    (".attn.qkv.", ".attn.in_proj_"),
    (".attn.proj.", ".attn.out_proj."),
    (".gamma_1", ".ls_1.gamma"),
    (".gamma_2", ".ls_2.gamma"),
    (".norm1.", ".ln_1."),
    (".norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
]
_TIMM_POOL = [
    ("attn_pool.latent", "attn_pool.probe"),
    ("attn_pool.proj.", "attn_pool.attn.out_proj."),
    ("attn_pool.norm.", "attn_pool.layernorm."),
    ("attn_pool.mlp.fc1.", "attn_pool.mlp.c_fc."),
    ("attn_pool.mlp.fc2.", "attn_pool.mlp.c_proj."),
]


class WeightsError(ValueError):
    """A weights file that cannot be used; the message names the file and the remedy."""


def load_encoder_weights(
    encoder: PerceptionEncoder,
    weights: str | Path,
    patch_resize: PatchResize = "bicubic",
    allow_deeper: bool = False,
    resize_positions: bool = False,
) -> None:
    """Load a tower from an official name or a file, strictly.

    Args:
        encoder: receives the weights; if it was built on the meta device, the tensors become its parameters, and take
            no memory twice.
        weights: an official name such as ``PE-Spatial-B16-512`` (fetched through huggingface_hub), or the path of a
            ``.pt``, ``.pth`` or ``.safetensors`` file in any official wrapper, with any prefix, or with timm's names.
        patch_resize: how a patch embedding of another patch size is resized, see :func:`resize_patch_embedding`.
        allow_deeper: accept a file with more blocks than the encoder; the later ones are left out.
        resize_positions: accept a position table of another side and resize it bicubically.

    Raises:
        FileNotFoundError: if there is no such file.
        WeightsError: for a file that cannot be read, or a parameter that is missing or has another shape.
    """
    path = find_weights(weights)
    state = encoder_state_dict(read_state_dict(path), str(path))
    state = _fit(state, encoder, patch_resize, resize_positions)
    _check(state, encoder, str(path), allow_deeper)
    own = encoder.state_dict()
    on_meta = any(value.is_meta for value in own.values())
    encoder.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items() if k in own}, assign=on_meta)
    unused = sorted(k for k in state if k not in own)
    note = f"; not used: {', '.join(unused[:4])}{' ...' if len(unused) > 4 else ''}" if unused else ""
    logger.info("encoder weights: %d tensors from %s%s", len(own), path, note)


def find_weights(weights: str | Path) -> Path:
    """Path of a local weights file; an official name is fetched from the hub first."""
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if not re.fullmatch(r"PE-(Core|Lang|Spatial)-[A-Za-z0-9-]+", str(weights)):
        raise FileNotFoundError(
            f"weights file {path} does not exist; give the path of a .pt, .pth or .safetensors file, "
            "or an official name such as PE-Spatial-B16-512"
        )
    return fetch_from_hub(f"facebook/{weights}", f"{weights}.pt", str(weights), "give the file's path")


def fetch_from_hub(repository: str, file: str, what: str, otherwise: str) -> Path:
    """A file of the Hugging Face hub, out of its cache if it is there.

    Args:
        repository: ``owner/name``.
        file: its name there.
        what: the weights, for messages.
        otherwise: what else can be done, for messages.

    Raises:
        FileNotFoundError: if it is not in the cache and cannot be fetched.
    """
    import huggingface_hub as hub  # slow to import, needed for files of the hub only

    place = (repository, file)
    cached = hub.try_to_load_from_cache(*place)
    if isinstance(cached, str):
        return Path(cached)
    logger.info("fetching the weights %s from the Hugging Face hub", what)
    try:
        hub.get_hf_file_metadata(hub.hf_hub_url(*place))  # asks once; the download would try again for minutes
        return Path(hub.hf_hub_download(*place))
    except Exception as error:  # the hub raises many kinds: offline, not found, gated, proxies
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise FileNotFoundError(
            f"could not fetch the weights {what} from the Hugging Face hub ({reason}); on a machine with access (a "
            f"login node) run 'hf download {repository} {file}', then set HF_HOME to its cache or {otherwise}"
        ) from error


def read_state_dict(path: Path, allowed: Sequence[type] = ()) -> dict[str, Tensor]:
    """Named tensors of a file, out of any official wrapper. Never runs code from the file.

    The tensors are the file's pages in memory, read when they are used, except those of a file in PyTorch's format
    before 1.6. Changing them changes a private copy.

    Args:
        path: of the file.
        allowed: classes that a pickle may hold beside tensors and plain values: only ones whose instances do nothing
            when they are made.

    Raises:
        WeightsError: if the file is damaged, holds code, or holds no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals(list(allowed)):
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:
        raise WeightsError(f"{path} {_why_unreadable(path, error)}") from error
    while isinstance(content, Mapping):
        inner = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors; a PE weights file is a state dict")
    return tensors


def _why_unreadable(path: Path, error: Exception) -> str:
    found = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
    text = start_of_text(path)
    if found is None and text is not None:
        return (
            f"is text that starts with {text!r}, not weights; it is perhaps a web page or a Git LFS pointer in "
            "their place, fetch the file itself"
        )
    if isinstance(error, pickle.UnpicklingError):
        return (
            f"holds more than tensors ({found.group(1) if found else 'a pickle'}); it is not opened, since it could "
            "run code. Save only its state dict on a machine where you trust it"
        )
    # zip, safetensors and EOF errors
    return f"cannot be read as weights ({type(error).__name__}: {error}); it may be truncated, fetch it again"


def start_of_text(path: Path) -> str | None:
    """Beginning of the first line of a file that holds text, not weights; None of any other file."""
    with path.open("rb") as file:
        lines = file.read(60).decode(errors="replace").splitlines()
    return lines[0] if lines and all(map(str.isprintable, lines)) else None


def encoder_state_dict(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The encoder's part of a state dict, under official names.

    Args:
        tensors: names with any prefix (``module.``, ``visual.``, ``backbone.net.`` ...), official or timm's.
        source: for messages.

    Raises:
        WeightsError: if there is no PE encoder inside, or more than one.
    """
    marks = {"conv1.weight": "positional_embedding", "patch_embed.proj.weight": "pos_embed"}
    prefixes = [
        (k[: -len(mark)], mark)
        for k in tensors
        for mark, partner in marks.items()
        if k.endswith(mark) and k[: -len(mark)] + partner in tensors
    ]
    if len(prefixes) != 1:
        found = ", ".join(repr(p) for p, _ in prefixes) or "none"
        example = ", ".join(list(tensors)[:3])
        raise WeightsError(
            f"{source}: expected one PE encoder, found {found} (looked for names ending in conv1.weight beside "
            f"positional_embedding, or timm's; the file starts with {example}); give a PE weights file"
        )
    [(prefix, mark)] = prefixes
    state = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
    if mark == "patch_embed.proj.weight":
        state = from_timm(state)
    state = {k: v for k, v in state.items() if "rope" not in k}  # tables are computed, never loaded
    state["positional_embedding"] = state["positional_embedding"].flatten(0, -2)
    return state


def from_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """timm's ``vit_pe_*`` names and layouts to the official ones."""
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if name in {"attn_pool.q.weight", "attn_pool.q.bias"}:
            kind = name.rsplit(".", 1)[1]
            result[f"attn_pool.attn.in_proj_{kind}"] = torch.cat([value, state[f"attn_pool.kv.{kind}"]])
        elif name == "head.weight":
            result["proj"] = value.T
        elif name == "cls_token":
            result["class_embedding"] = value.flatten()
        elif name == "pos_embed":
            result["positional_embedding"] = value[0]
        elif name not in {"head.bias", "attn_pool.kv.weight", "attn_pool.kv.bias"}:
            result[_renamed(name, _TIMM_POOL if name.startswith("attn_pool.") else _TIMM, "norm.", "ln_post.")] = value
    return result


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official names and layouts to timm's ``vit_pe_*`` ones."""
    result: dict[str, Tensor] = {}
    tables = {True: [(b, a) for a, b in _TIMM_POOL], False: [(b, a) for a, b in _TIMM]}
    for name, value in state.items():
        if name.startswith("attn_pool.attn.in_proj_"):
            kind, third = name.rsplit("_", 1)[1], len(value) // 3
            result[f"attn_pool.q.{kind}"], result[f"attn_pool.kv.{kind}"] = value[:third], value[third:]
        elif name == "proj":
            result["head.weight"], result["head.bias"] = value.T, value.new_zeros(value.shape[1])
        elif name == "class_embedding":
            result["cls_token"] = value[None, None]
        elif name == "positional_embedding":
            result["pos_embed"] = value[None]
        else:
            result[_renamed(name, tables[name.startswith("attn_pool.")], "ln_post.", "norm.")] = value
    return result


def _renamed(name: str, table: list[tuple[str, str]], old_start: str, new_start: str) -> str:
    if name.startswith(old_start):
        return new_start + name[len(old_start) :]
    for old, new in table:
        name = name.replace(old, new)
    return name


def resize_patch_embedding(weight: Tensor, size: int, method: PatchResize = "bicubic") -> Tensor:
    """Patch embedding for another patch size.

    Args:
        weight: C x 3 x p x p.
        size: new p.
        method: ``bicubic``: the official conversion (no compensation: responses grow with the number of pixels);
            ``pinv``: the kernel whose response to a bicubically resized patch equals the old response (FlexiViT,
            arXiv 2212.08013, equation 5).

    Returns:
        C x 3 x size x size.
    """
    old = weight.shape[-1]
    if method == "bicubic":
        resized = F.interpolate(weight.float(), (size, size), mode="bicubic", align_corners=False)
        return resized.to(weight.dtype)
    basis = torch.eye(old * old, dtype=torch.float64).view(old * old, 1, old, old)
    resize = F.interpolate(basis, (size, size), mode="bicubic", align_corners=False).view(old * old, size * size)
    solved = weight.double().flatten(2) @ torch.linalg.pinv(resize).T
    return solved.view(*weight.shape[:2], size, size).to(weight.dtype)


def _fit(
    state: dict[str, Tensor], encoder: PerceptionEncoder, patch_resize: PatchResize, resize_positions: bool
) -> dict[str, Tensor]:
    """Adapt what may differ on purpose: class token, patch size and, on request, the position table."""
    side, size = encoder.grid_size, encoder.patch_size
    table = state["positional_embedding"]
    if "class_embedding" in state and not encoder.use_cls_token:
        table = table[1:]
    extra = int(encoder.use_cls_token)
    stored = round(max(len(table) - extra, 0) ** 0.5)
    if resize_positions and stored != side and stored**2 == len(table) - extra:
        grid = table[extra:].T.reshape(1, -1, stored, stored).float()
        grid = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)[0].flatten(1).T
        table = torch.cat([table[:extra], grid.to(table.dtype)])
    state = {**state, "positional_embedding": table}
    if state["conv1.weight"].shape[-1] != size:
        logger.info("patch embedding resized from %d to %d (%s)", state["conv1.weight"].shape[-1], size, patch_resize)
        state["conv1.weight"] = resize_patch_embedding(state["conv1.weight"], size, patch_resize)
    return state


def _check(state: Mapping[str, Tensor], encoder: PerceptionEncoder, source: str, allow_deeper: bool) -> None:
    own = encoder.state_dict()
    problems = [f"{k} is missing" for k in own if k not in state]
    problems += [
        f"{k} has shape {tuple(state[k].shape)}, the model needs {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    for name in state:
        block = re.match(r"transformer\.resblocks\.(\d+)\.", name)
        beyond = block is not None and int(block.group(1)) >= encoder.depth
        if name not in own and not name.startswith(_OPTIONAL) and not (beyond and allow_deeper):
            problems.append(f"{name} has no place in the model")
    if problems:
        raise WeightsError(f"{source} does not fit the encoder; it may be of another model or size:{listed(problems)}")


def listed(lines: Sequence[str], most: int = 12) -> str:
    """Indented lines for the end of a message, shortened when there are many."""
    more = [f"... and {len(lines) - most} more"] if len(lines) > most else []
    return "".join(f"\n  {line}" for line in [*lines[:most], *more])
