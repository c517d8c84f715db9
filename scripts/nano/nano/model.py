"""The network: Whisper's architecture, small.

Comes in: log-mel features (batch, 80, frames) float32 and token ids (batch, length) int64. Goes out: encodings (batch,
frames / 2, width), logits of the next token over the vocabulary, and for training alone character logits of the encoder
(CTC). The names of its parameters are the contract with `weights.py`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .tokens import TIMESTAMPS
from .weights import Array, Shape

#: Characters of the auxiliary CTC; 0 is its blank.
CHARACTERS = " abcdefghijklmnopqrstuvwxyz'"


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        #: Where each query looked in the last call: (batch, heads, queries, keys). Training guides it
        #: (`weights.GUIDED_HEADS`).
        self.looked: Tensor | None = None

    def forward(self, x: Tensor, other: Tensor | None = None, *, causal: bool = False) -> Tensor:
        source = x if other is None else other

        def split(y: Tensor) -> Tensor:
            return y.view(*y.shape[:2], self.heads, -1).transpose(1, 2)

        q, k, v = split(self.q(x)), split(self.k(source)), split(self.v(source))
        # By hand in bfloat16: on a CPU with AVX-512 BF16, forward and backward together take 19 ms where PyTorch 2.13's
        # fused attention takes 37 (24 windows of 200 steps, 3 heads), 209 against 232 at 6 of 1,500.
        with torch.autocast("cpu", enabled=False):
            scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
            if causal:
                scores = scores + torch.full(scores.shape[-2:], float("-inf"), dtype=scores.dtype).triu(1)
            self.looked = scores.softmax(-1)
            y = self.looked @ v
        out: Tensor = self.o(y.transpose(1, 2).flatten(2))
        return out


class Layer(nn.Module):
    """Encoder layer, or with `decoder` one that looks only back and across to the encoder."""

    def __init__(self, width: int, heads: int, decoder: bool) -> None:
        super().__init__()
        self.decoder = decoder
        self.ln1, self.sa = nn.LayerNorm(width), Attention(width, heads)
        if decoder:
            self.ln2, self.ca = nn.LayerNorm(width), Attention(width, heads)
        self.ln3, self.f1, self.f2 = nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, encoded: Tensor | None = None) -> Tensor:
        x = x + self.sa(self.ln1(x), causal=self.decoder)
        if self.decoder:
            x = x + self.ca(self.ln2(x), encoded)
        out: Tensor = x + self.f2(F.gelu(self.f1(self.ln3(x))))
        return out


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's fixed positions of the encoder, (length, width)."""
    scale = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angle = torch.arange(length)[:, None] * scale[None]
    return torch.cat([angle.sin(), angle.cos()], 1)


class Nano(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width, heads = shape.width, shape.heads
        self.c1 = nn.Conv1d(shape.mels, width, 3, padding=1)
        self.c2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.pe: Tensor
        self.register_buffer("pe", sinusoids(1500, width))
        self.enc = nn.ModuleList([Layer(width, heads, False) for _ in range(shape.encoder_layers)])
        self.lne = nn.LayerNorm(width)
        self.emb = nn.Embedding(shape.vocabulary, width)
        nn.init.normal_(self.emb.weight, std=0.02)
        #: What the timestamps share: their embeddings are their own plus a linear map of the encoder's positions at the
        #: same times. Learned one by one, 1,501 of them, they stay rare words: after 20,000 windows a timestamp still
        #: cost 5.8 nats where a text token cost 0.5. Export folds it into the embeddings (`folded`).
        self.clock = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.clock.weight)
        self.times: Tensor
        self.register_buffer("times", sinusoids(TIMESTAMPS, width), persistent=False)
        self.dpe = nn.Parameter(torch.randn(448, width) * 0.01)
        #: Likewise what the decoder's positions share: the later ones come up only behind long previous texts.
        self.pace = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.pace.weight)
        self.places: Tensor
        self.register_buffer("places", sinusoids(448, width), persistent=False)
        self.dec = nn.ModuleList([Layer(width, heads, True) for _ in range(shape.decoder_layers)])
        self.lnd = nn.LayerNorm(width)
        self.ctc = nn.Linear(width, len(CHARACTERS) + 1)

    def encode(self, features: Tensor) -> Tensor:
        x = F.gelu(self.c2(F.gelu(self.c1(features)))).transpose(1, 2)
        x = x + self.pe[: x.shape[1]]
        for layer in self.enc:
            x = layer(x)
        out: Tensor = self.lne(x)
        return out

    def decode(self, tokens: Tensor, encoded: Tensor) -> Tensor:
        """What the decoder makes of each position, (batch, length, width); `score` says which token should follow."""
        x = F.embedding(tokens, self.embeddings()) + self.positions()[: tokens.shape[1]]
        for layer in self.dec:
            x = layer(x, encoded)
        out: Tensor = self.lnd(x)
        return out

    def score(self, decoded: Tensor) -> Tensor:
        """(…, width) to (…, vocabulary)."""
        return decoded @ self.embeddings().T

    def embeddings(self) -> Tensor:
        """One row a token, (vocabulary, width)."""
        own = self.emb.weight
        timeless = len(own) - TIMESTAMPS
        with torch.autocast("cpu", enabled=False):  # small, and exact as the export
            return torch.cat([own[:timeless], own[timeless:] + self.clock(self.times)])

    def positions(self) -> Tensor:
        """What the decoder adds at each place, (448, width)."""
        with torch.autocast("cpu", enabled=False):
            out: Tensor = self.dpe + self.pace(self.places)
            return out

    def share_positions(self, known: int) -> None:
        """Give `pace` what the first `known` positions, the well trained ones, have in common (ridge regression)."""
        with torch.no_grad():
            places, own = self.places[:known], self.dpe[:known]
            inner = places @ places.T + 5.0 * torch.eye(known)
            self.pace.weight.copy_((places.T @ torch.linalg.solve(inner, own)).T)
            self.dpe.sub_(torch.cat([self.pace(places), torch.zeros(len(self.dpe) - known, own.shape[1])]))

    def folded(self, state: dict[str, Tensor]) -> dict[str, Array]:
        """`state` of such a network as plain Whisper's arrays: without what only training needs."""
        arrays = {name: tensor.float().numpy().copy() for name, tensor in state.items()}
        clock, pace = arrays.pop("clock.weight"), arrays.pop("pace.weight")
        arrays["dpe"] += self.places.numpy() @ pace.T
        arrays["emb.weight"][-TIMESTAMPS:] += self.times.numpy() @ clock.T
        return {name: array for name, array in arrays.items() if not name.startswith("ctc.")}
