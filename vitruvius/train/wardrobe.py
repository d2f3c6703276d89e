"""Several adapters on one base, of which one at a time is worn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vitruvius.contracts import Adapter, Fitted, Given, Lineage, Model
from vitruvius.train.adapting import attach
from vitruvius.train.attached import Attached


class Wardrobe(Mapping[str, Attached]):
    """Adapters by name on one model. Changing from one to another copies and loads nothing.

    The base is in memory once, beside what each adapter trains; of one that trains weights of the
    base (FullTuning, BitFit), these weights as it has them.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._hung: dict[str, Attached] = {}
        self._worn: str | None = None

    @property
    def worn(self) -> str | None:
        """The name of the one that acts; None: the model is its base."""
        return self._worn

    def hang(
        self,
        name: str,
        adapter: Adapter,
        given: Given,
        saved: tuple[Fitted, Lineage] | None = None,
    ) -> Attached:
        """Attach one more and wear it; with what another of its kind on this base has saved.

        Raises ValueError, with all as before, where it does not fit, or belongs to another base.
        """
        if name in self._hung:
            raise ValueError(f"There is an adapter {name!r} already. Choose another name.")
        before = self._worn
        self.wear(None)
        try:
            adapted = attach(adapter, self.model, given)
            assert isinstance(adapted, Attached)
            try:
                if saved is not None:
                    adapted.load(*saved)
            except ValueError:
                adapted.detach()
                raise
        except ValueError:
            self.wear(before)
            raise
        self._hung[name], self._worn = adapted, name
        return adapted

    def wear(self, name: str | None) -> Model:
        """The model with this adapter alone; None: with none."""
        if name is not None and name not in self._hung:
            there = ", ".join(self._hung) or "none"
            raise ValueError(f"There is no adapter {name!r}; there is {there}.")
        if name != self._worn:
            if self._worn is not None:
                self._hung[self._worn].take_off()
            if name is not None:
                self._hung[name].put_on()
            self._worn = name
        return self.model

    def drop(self, name: str) -> None:
        """Forget an adapter."""
        before = None if self._worn == name else self._worn
        self.wear(name)
        self._hung.pop(name).detach()
        self._worn = None
        self.wear(before)

    def __getitem__(self, name: str) -> Attached:
        return self._hung[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._hung)

    def __len__(self) -> int:
        return len(self._hung)
