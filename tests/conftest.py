"""One thread, the same examples in every run, and shapes checked in all techniques."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings
from jaxtyping import install_import_hook

import vitruvius.testing  # noqa: F401

install_import_hook("vitruvius.techniques", "vitruvius.testing.checked")
torch.set_num_threads(1)
settings.register_profile("vitruvius", derandomize=True, deadline=None, database=None)
settings.load_profile("vitruvius")
