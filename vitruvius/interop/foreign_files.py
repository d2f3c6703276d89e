"""Finding the files of a pretrained model, and refusing those that cannot be trusted."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WANTED = ("*.json", "*.safetensors", "*.txt", "*.model")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".gguf")
INDEX = "model.safetensors.index.json"
WHOLE = "model.safetensors"


class PretrainedError(ValueError):
    """A model that cannot be loaded. One line: what, where, how to mend."""


def library() -> Any:
    """The ``transformers`` library."""
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise PretrainedError(
            "Pretrained models need the transformers library: pip install 'vitruvius[text]'."
        ) from error


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """No progress bars and warnings of the library: what matters is checked and raised."""
    logging = library().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def located(source: str, revision: str | None = None) -> Path:
    """The folder of a model: as given, out of the cache of the hub, or fetched from the hub."""
    path = Path(source).expanduser()
    if source and path.is_dir():
        return path
    if source and path.exists():
        raise PretrainedError(
            f"FromPretrained.source must be the folder of a model; {source} is a file. "
            "Give the folder that holds config.json."
        )
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or not source:
        raise PretrainedError(
            f"There is no folder {source!r}. Give the folder of a model, "
            "or a name on the hub such as 'owner/model'."
        )
    hub = importlib.import_module("huggingface_hub")
    try:
        with contextlib.suppress(hub.errors.LocalEntryNotFoundError):
            cached = hub.snapshot_download(
                source, revision=revision, allow_patterns=WANTED, local_files_only=True
            )
            if weight_files(Path(cached)):
                return Path(cached)
        return Path(hub.snapshot_download(source, revision=revision, allow_patterns=WANTED))
    except Exception as error:  # of the network there are many kinds, from several libraries
        raise PretrainedError(
            f"{source!r} is no folder, is not whole in the cache of the hub, and cannot be fetched "
            f"({type(error).__name__}). Give a folder, or fetch it where there is a network."
        ) from error


def config_of(folder: Path) -> dict[str, Any]:
    """The model's config.json. Raises PretrainedError where it is not one that we can build."""
    path = folder / "config.json"
    if not path.is_file():
        adapter = (folder / "adapter_config.json").is_file()
        raise PretrainedError(
            f"{folder} is an adapter, not a model: give the base model's folder."
            if adapter
            else f"{folder} is not the folder of a model: config.json is missing."
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PretrainedError(f"{path} cannot be read: {error}.") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    known = importlib.import_module("transformers.models.auto.configuration_auto").CONFIG_MAPPING
    if kind in known:
        return config
    if isinstance(config, dict) and config.get("auto_map"):
        raise PretrainedError(
            f"{folder} wants to run code of its own (auto_map in config.json), and no code of a "
            "model is ever run. Take a model whose class is part of transformers."
        )
    version = library().__version__
    raise PretrainedError(
        f"{path} names the model_type {kind!r}, which transformers {version} does not know. "
        "Take another model, or a newer transformers."
    )


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The files of weights: one, or those that an index names; none where there are none."""
    if (folder / WHOLE).is_file():
        return (folder / WHOLE,)
    if not (folder / INDEX).is_file():
        return ()
    try:
        named = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise PretrainedError(f"{folder / INDEX} cannot be read: {error!r}.") from error
    return tuple(folder / name for name in sorted(set(named)))


def check_weights(folder: Path) -> None:
    """Raises PretrainedError unless the weights are whole files of safetensors."""
    from safetensors import SafetensorError, safe_open

    files = weight_files(folder)
    if not files:
        other = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLED)
        raise PretrainedError(
            f"{folder} holds no {WHOLE}, only {other[0]}: weights are loaded from safetensors "
            "alone, since other formats can run code. Convert it once where you trust its source: "
            "AutoModel.from_pretrained(...).save_pretrained(...)."
            if other
            else f"{folder} holds no weights: {WHOLE} is missing."
        )
    for file in files:
        if not file.is_file():
            raise PretrainedError(f"{folder} is not whole: {file.name} of its index is missing.")
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise PretrainedError(
                f"{file} is damaged ({error}). Fetch or copy it again."
            ) from error
