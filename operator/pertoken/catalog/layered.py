"""What one layer of a model is made of: attention and its cache, recurrent state, feed-forward and experts.

A model is a tuple of `Layer`, each standing for `count` layers that are alike. Parameters are numbers, without biases
and norms; what they weigh is a matter of the precision.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from pertoken.frozen import dataclass

SCALE_GROUP: Final = 128  # numbers of an 8-bit latent that share one scale of four bytes
SCALE_BYTES: Final = 4.0
WIDE_BYTES: Final = 2.0


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention mixer.

    Attributes:
        heads: query heads.
        kv_heads: heads whose keys and values are cached.
        cached_width: numbers that one head caches per token: a key and a value.
        parameters: of all its projections, an indexer's included.
        latent: numbers cached per token under multi-head latent attention, None for keys and values by head.
        latent_wide: how many of them stay at two bytes in an 8-bit cache (the rotary part beside an indexer), 0 for
            none.
        indexer_bytes: further bytes per token that learned sparse attention keeps to choose what it reads.
        window: tokens that it sees and caches at most, None for all.
        owns_cache: False where it reads the cache of an earlier layer.
    """

    heads: int
    kv_heads: int
    cached_width: int
    parameters: int
    latent: int | None = None
    latent_wide: int = 0
    indexer_bytes: int = 0
    window: int | None = None
    owns_cache: bool = True

    def cache_bytes(self, tensor: int, kv_bytes: float) -> float:
        """Bytes per token and GPU; heads are replicated where GPUs outnumber them, a latent is on every GPU.

        The 8-bit layout beside an indexer is that of vLLM and SGLang (`fp8_ds_mla`): scales, and two bytes for the
        rotary part.
        """
        if self.latent is None:
            return max(1, ceil(self.kv_heads / tensor)) * self.cached_width * kv_bytes + self.indexer_bytes
        if self.latent_wide and kv_bytes < WIDE_BYTES:
            narrow = self.latent - self.latent_wide
            scales = narrow / SCALE_GROUP * SCALE_BYTES
            return narrow * kv_bytes + scales + self.latent_wide * WIDE_BYTES + self.indexer_bytes
        return self.latent * kv_bytes + self.indexer_bytes


@dataclass(frozen=True, slots=True)
class Recurrent:
    """A mixer with a state per sequence in place of a cache: `parameters`, and `state` in numbers of 32 bits."""

    parameters: int
    state: int


@dataclass(frozen=True, slots=True)
class Experts:
    """Routed experts: how many, how many a token takes, parameters of one and of what chooses among them."""

    count: int
    chosen: int
    parameters: int
    router: int
    width: int


@dataclass(frozen=True, slots=True)
class Layer:
    """`count` layers that are alike; a part that is None is not there.

    Attributes:
        dense: parameters of what every token passes in the feed-forward, shared experts included.
        shared: how many of them are of shared experts.
        feeds: whether there is a feed-forward part at all.
    """

    count: int
    attention: Attention | None = None
    recurrent: Recurrent | None = None
    dense: int = 0
    shared: int = 0
    experts: Experts | None = None
    feeds: bool = False
