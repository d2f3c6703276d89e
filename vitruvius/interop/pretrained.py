"""Models that transformers' AutoModel loads, as bodies of ours: in and out.

Source: Wolf et al. 2020, "Transformers: State-of-the-Art Natural Language Processing",
arXiv:1910.03771. Weights come from safetensors alone, and no code of a model is run.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vitruvius.contracts import Layout, Lineage, Model, Outputs, Pretrained, Stream
from vitruvius.interop import fewer_heads, transformers
from vitruvius.interop.foreign_body import UNUSED, ForeignBody, built
from vitruvius.interop.foreign_files import (
    PretrainedError,
    check_weights,
    config_of,
    library,
    located,
    silenced,
)
from vitruvius.interop.foreign_tokenizer import ForeignTokenizer
from vitruvius.interop.pretrained_images import PretrainedImageBody, reads_images
from vitruvius.space import hyper
from vitruvius.train.checkpoint import digest_of
from vitruvius.train.text_bodies import TextBody


@dataclass(frozen=True)
class FromPretrained(Pretrained):
    """A model from a folder, or from the hub, that goes on to be trained or is used as it is.

    Stands where a layer stands: ``Pretrain(one_of(Encoder.space(), FromPretrained("folder")))``.
    A stage asks ``isinstance(layer, Pretrained)``: of one it takes all that ``load`` gives (body,
    tokenizer, lineage) in place of building and initialising, and its tokenizer in place of what
    a stage before has trained. ``build`` is for the meter alone.
    """

    source: str = hyper(..., doc='folder of a model, or its name on the hub: "owner/model"')
    revision: str | None = hyper(None, doc="commit on the hub; None: the newest, or the cached one")
    ours: bool = hyper(
        False, doc="in our layers, where they compute the same: training is then faster"
    )

    opens: ClassVar[tuple[str, ...]] = ("source",)
    libraries: ClassVar[tuple[str, ...]] = ("transformers", "tokenizers", "safetensors")

    def build(self, x: Tensor) -> nn.Module:
        """Its body on meta, for ids [B T] or images [B C H W]; no weights are read."""
        told = config_of(folder := located(self.source, self.revision))
        if self.ours and (design := transformers.design_of(told)) is not None:
            return TextBody(design.build(x))
        auto = library()
        with silenced(), torch.device("meta"):
            config = auto.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            network = auto.AutoModel.from_config(config)
            return (
                PretrainedImageBody(network) if reads_images(network) else PretrainedBody(network)
            )

    def load(self) -> Model:
        """Body "input", lineage, and of texts the tokenizer; its base is the digest of the
        weights."""
        folder = located(self.source, self.revision)
        if self.ours and transformers.design_of(config_of(folder)) is not None:
            return transformers.read(folder)
        return load_pretrained(self.source, self.revision)


class PretrainedBody(ForeignBody):
    """A transformers model as the body of a text stream.

    Taps: "stem" (what the first layer reads) and "layer.0" on. The tap of the last layer is after
    the model's last norm, if it has one. Documents packed into one row are kept apart; where
    the model cannot do so by its mask, the rows are taken apart and put together again.
    """

    def __init__(self, network: nn.Module, packs: bool = False) -> None:
        super().__init__(network)
        self.packs = packs
        """Whether a mask of who sees whom [B 1 T T] is understood."""
        self.accepts = frozenset(inspect.signature(network.forward).parameters)
        self.causal = any(getattr(part, "is_causal", False) for part in network.modules())
        self.offset = _first_position(network)
        config: Any = network.config
        longest = getattr(config, "max_position_embeddings", None)
        self.longest = longest - self.offset if longest and longest > 0 else None
        """Tokens of a document, at most; None where any length goes."""
        if "input_ids" not in self.accepts or getattr(config, "is_encoder_decoder", False):
            raise PretrainedError(
                f"{type(network).__name__} reads no single stream of ids. "
                "Take an encoder (BERT, RoBERTa, ...) or a decoder (Llama, ...)."
            )

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "packs": self.packs}

    @classmethod
    def rebuild(cls, written: Mapping[str, Any]) -> PretrainedBody:
        made = cls(built(written), written["packs"])
        fewer_heads.thin(made, written.get("thinned", {}))
        return made

    def forward(self, stream: Stream, taps: frozenset[str] = frozenset()) -> Outputs:
        ids, layout = stream.values, stream.layout
        if ids.is_meta:
            return self._outputs(self._call(ids, None, None, taps), taps)
        positions, segments = layout.positions, layout.segments
        self._check_length(positions)
        packed = layout.packed and bool((segments > 1).any())
        if packed and not self.packs:
            return self._apart(stream, taps)
        mask = who_sees_whom(segments, self.causal) if packed else (segments != 0).long()
        return self._outputs(self._call(ids, positions, mask, taps, segments), taps)

    def _call(
        self,
        ids: Tensor,
        positions: Tensor | None,
        mask: Tensor | None,
        taps: frozenset[str],
        segments: Tensor | None = None,
    ) -> Any:
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": mask}
        if "use_cache" in self.accepts and not ids.is_meta:  # without one it looks at positions
            given["use_cache"] = False
        if positions is not None and segments is not None and "position_ids" in self.accepts:
            padding = max(self.offset - 1, 0)
            given["position_ids"] = (positions + self.offset).where(segments != 0, padding)
        return self.network(**given, output_hidden_states=bool(taps), return_dict=True)

    def _apart(self, stream: Stream, taps: frozenset[str]) -> Outputs:
        """One row for each document, read as any other, then back into the packed rows."""
        ids, layout = stream.values, stream.layout
        rows, columns, lengths = [], [], []
        for row, segments in enumerate(layout.segments):
            for segment in segments.unique().tolist():
                if segment:
                    places = (segments == segment).nonzero().flatten()
                    rows.append(torch.full_like(places, row))
                    columns.append(places)
                    lengths.append(len(places))
        at = torch.zeros(len(rows), max(lengths), dtype=torch.long, device=ids.device)
        segments = at.clone()
        row_at = at.clone()
        for k, (row, places) in enumerate(zip(rows, columns, strict=True)):
            at[k, : len(places)], row_at[k, : len(places)] = places, row
            segments[k, : len(places)] = 1
        real = segments != 0
        alone = Layout(
            layout.positions[row_at, at] * segments,
            segments,
            route=None if layout.route is None else layout.route[row_at[:, 0]],
            slots=None if layout.slots is None else layout.slots[row_at, at].masked_fill(~real, -1),
            packed=False,
        )
        made: Outputs = self(Stream(ids[row_at, at], alone), taps)

        def back(x: Tensor) -> Tensor:
            packed = x.new_zeros(*ids.shape, x.shape[-1])
            return packed.index_put((row_at[real], at[real]), x[real])

        return Outputs(back(made.hidden), taps={n: back(x) for n, x in made.taps.items()})

    def _check_length(self, positions: Tensor) -> None:
        if self.longest is None or positions.shape[1] <= self.longest:
            return
        if int(positions.max()) >= self.longest:
            raise ValueError(
                f"{type(self.network).__name__} takes documents of at most {self.longest} tokens; "
                f"got {int(positions.max()) + 1}. Cut them, or take a model for longer texts."
            )


def load_pretrained(source: str, revision: str | None = None) -> Model:
    """A folder or hub name as a model with body "input", and tokenizer where it reads texts.

    Raises PretrainedError.
    """
    folder = located(source, revision)
    config_of(folder)
    check_weights(folder)
    network = network_of(folder)
    if reads_images(network):
        digest = digest_of(network.state_dict())
        return Model({"input": PretrainedImageBody(network)}, {}, Lineage(digest, base=digest))
    tokenizer = ForeignTokenizer.load(folder)
    room = network.get_input_embeddings().num_embeddings
    if tokenizer.vocabulary > room:
        raise PretrainedError(
            f"The tokenizer in {folder} has {tokenizer.vocabulary} tokens, the model {room}: they "
            "do not belong together. Save the tokenizer that the model was trained with."
        )
    body = PretrainedBody(network, takes_masks(network))
    digest = digest_of(network.state_dict())
    return Model({"input": body}, {}, Lineage(digest, base=digest), tokenizer=tokenizer)


def network_of(folder: Path) -> Any:
    """The weights of a folder in transformers' class, in float32, ready for evaluation."""
    auto = library()
    try:
        with silenced(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # for a pooler that the checkpoint lacks
            network, told = auto.AutoModel.from_pretrained(
                str(folder),
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # the library raises many kinds, Exception itself among them
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PretrainedError(f"{folder} cannot be loaded as a model: {line}") from error
    missing = sorted(n for n in told["missing_keys"] if not n.startswith(UNUSED))
    wrong = sorted(str(entry) for entry in told.get("mismatched_keys", ()))
    if missing or wrong:
        what = f"lack {missing[0]}" if missing else f"have another shape: {wrong[0]}"
        others = f" and {len(missing + wrong) - 1} more" if len(missing + wrong) > 1 else ""
        raise PretrainedError(
            f"The weights in {folder} {what}{others}: they are not those of its config.json. "
            "Give the folder as save_pretrained wrote it."
        )
    return network.eval()


def save_pretrained(model: Model, folder: str | os.PathLike[str]) -> Path:
    """A model's body and tokenizer as a folder that AutoModel and AutoTokenizer load.

    Written beside and renamed: the folder is whole or absent. Heads of ours are not part of it.
    """
    body, target = model.bodies["input"], Path(folder)
    if not isinstance(body, ForeignBody):
        raise PretrainedError(
            f"Only a body from FromPretrained is saved so; got {type(body).__name__}."
        )
    if body.thinned:
        raise PretrainedError(
            f"{type(body.network).__name__} has lost heads, which its config cannot say: AutoModel "
            "would not load it. Keep it in a store, or export it."
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PretrainedError(f"{target} exists and is not empty. Name a new folder.")
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with silenced():
            body.network.save_pretrained(beside)  # pyright: ignore[reportCallIssue]
        if isinstance(model.tokenizer, ForeignTokenizer):
            model.tokenizer.save(beside)
        beside.chmod(0o755)
        os.replace(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return target


def who_sees_whom(segments: Tensor, causal: bool) -> Tensor:
    """True [B 1 T T] where a row's position sees a column's: of one document; padding itself."""
    same = (segments[:, :, None] == segments[:, None, :]) & (segments != 0)[:, :, None]
    if causal:
        same = same.tril()
    itself = torch.eye(segments.shape[1], dtype=torch.bool, device=segments.device)
    return (same | itself).unsqueeze(1)


def takes_masks(network: Any) -> bool:
    """Whether two documents in one row come out as each alone. Tried, since models differ."""
    if _has_windows(network.config):
        return False
    body = PretrainedBody(network, packs=True)
    ids = torch.arange(8).reshape(1, 8) % network.get_input_embeddings().num_embeddings
    halves = ids.reshape(2, 4)
    positions, segments = torch.arange(8).reshape(1, 8) % 4, 1 + torch.arange(8).reshape(1, 8) // 4
    one = torch.ones_like(halves)
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            mask = who_sees_whom(segments, body.causal)
            together = body._call(ids, positions, mask, frozenset(), segments)
            alone = body._call(halves, positions.reshape(2, 4) % 4, one, frozenset(), one)
    except Exception:  # whatever it raises: it does not understand such a mask
        return False
    finally:
        network.train(was_training)
    apart = alone.last_hidden_state.reshape(1, 8, -1)
    return bool(torch.allclose(together.last_hidden_state, apart, atol=1e-4, rtol=1e-4))


def _has_windows(config: Any) -> bool:
    """Layers that see their neighbours alone get a mask each, which one mask cannot stand for."""
    kinds = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
    words = ("sliding_window", "local_attention", "attention_window")
    return bool(kinds) or any(getattr(config, word, None) for word in words)


def _first_position(network: nn.Module) -> int:
    """The number of the first position: RoBERTa and its kin count from padding_idx + 1."""
    for part in network.modules():
        if hasattr(part, "create_position_ids_from_input_ids"):
            padding: Any = getattr(part, "padding_idx", None)
            return int(padding) + 1 if padding is not None else 0
    return 0
