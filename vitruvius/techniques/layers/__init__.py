"""Layers: parts of networks, from the convolution to the graph."""

from vitruvius.techniques.layers.activations import (
    ELU,
    GELU,
    LeakyReLU,
    ReLU,
    Sigmoid,
    SiLU,
    Tanh,
)
from vitruvius.techniques.layers.affine import Affine
from vitruvius.techniques.layers.attention import Attention
from vitruvius.techniques.layers.batch_norm import BatchNorm
from vitruvius.techniques.layers.block import Block
from vitruvius.techniques.layers.branches import Branches
from vitruvius.techniques.layers.combine import Combine
from vitruvius.techniques.layers.conv import Conv
from vitruvius.techniques.layers.dense import Dense
from vitruvius.techniques.layers.dropout import Dropout
from vitruvius.techniques.layers.feed_forward import FeedForward
from vitruvius.techniques.layers.flatten import Flatten
from vitruvius.techniques.layers.graph import Graph, Wire
from vitruvius.techniques.layers.group_norm import GroupNorm
from vitruvius.techniques.layers.identity import Identity
from vitruvius.techniques.layers.layer_norm import LayerNorm
from vitruvius.techniques.layers.patches import Patches
from vitruvius.techniques.layers.pooling import AveragePool, GlobalAveragePool, MaxPool
from vitruvius.techniques.layers.positions import ALiBi, LearnedPositions, Rotary, Unplaced
from vitruvius.techniques.layers.residual import Residual
from vitruvius.techniques.layers.rms_norm import RMSNorm
from vitruvius.techniques.layers.separable_conv import SeparableConv
from vitruvius.techniques.layers.sequence_conv import SequenceConv
from vitruvius.techniques.layers.sequential import Sequential
from vitruvius.techniques.layers.squeeze_excite import SqueezeExcite
from vitruvius.techniques.layers.tokens import Tokens
from vitruvius.techniques.layers.transformer import Decoder, Encoder

__all__ = [
    "ELU",
    "GELU",
    "ALiBi",
    "Affine",
    "Attention",
    "AveragePool",
    "BatchNorm",
    "Block",
    "Branches",
    "Combine",
    "Conv",
    "Decoder",
    "Dense",
    "Dropout",
    "Encoder",
    "FeedForward",
    "Flatten",
    "GlobalAveragePool",
    "Graph",
    "GroupNorm",
    "Identity",
    "LayerNorm",
    "LeakyReLU",
    "LearnedPositions",
    "MaxPool",
    "Patches",
    "RMSNorm",
    "ReLU",
    "Residual",
    "Rotary",
    "SeparableConv",
    "SequenceConv",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SqueezeExcite",
    "Tanh",
    "Tokens",
    "Unplaced",
    "Wire",
]
