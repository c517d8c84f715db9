"""Training: a warm or cold start, a schedule in minutes, checkpoints to go on from.

Comes in: a `Corpus`, optionally weights to start from. Goes out, every few minutes and at the end: `checkpoint.pt`, an
exported model (`model/`, the running average of the weights, int8) and `run.json` (seed, mix, minutes, losses).
"""

import json
import math
import multiprocessing
import os
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Full
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .corpus import Corpus
from .mix import BUCKETS, KINDS, Batch, Mixer
from .model import Nano
from .tokens import TIMESTAMPS, Vocabulary
from .weights import GUIDED_HEADS, Shape, export, read_weights

#: How right a timestamp is that lies so many steps of 20 ms beside.
_BESIDE = {-2: 0.1, -1: 0.2, 0: 0.4, 1: 0.2, 2: 0.1}
#: What a checkpoint holds besides weights.
_PROGRESS = ("step", "seen", "minutes", "starts", "log", "came_from")


@dataclass(frozen=True)
class Plan:
    """One run of training. `rate` is that of the layers' matrices, `calm` times it that of all else: at the same rate
    the embeddings of the timestamps never settle.
    """

    minutes: float
    seed: int = 1
    rate: float = 8.0e-4
    calm: float = 0.5
    warm_up: int = 60
    threads: int = 2
    workers: int = 1
    average: float = 0.995
    guide: float = 0.5
    letters: float = 0.4
    keep_minutes: float = 5.0


class Muon(torch.optim.Optimizer):
    """Momentum whose updates are made orthogonal (Newton-Schulz, five steps); for the matrices of the layers.

    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; the step's scale is that of
    Moonshot's variant.
    """

    def __init__(self, parameters: list[nn.Parameter], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
                momentum.lerp_(p.grad, 0.05)
                x = p.grad.lerp(momentum, 0.95).bfloat16()
                if flipped := x.shape[0] > x.shape[1]:
                    x = x.T
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    a = x @ x.T
                    x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
                update = (x.T if flipped else x).float()
                p.mul_(1 - group["lr"] * 0.01).add_(update, alpha=-group["lr"] * 0.2 * max(p.shape) ** 0.5)


def _mix(queue: Any, corpus: Path, tokenizer: Path, seed: int) -> None:
    torch.set_num_threads(1)
    mixer = Mixer(Corpus(corpus), Vocabulary.read(tokenizer), seed)
    parent = os.getppid()
    while True:
        batch = mixer.batch()
        while True:
            try:
                queue.put(batch, timeout=5)
                break
            except Full:
                if os.getppid() != parent:  # the trainer was killed
                    return


class Training:
    """State of a run; `run` trains for the plan's minutes."""

    def __init__(self, plan: Plan, corpus: Path, tokenizer: Path, out: Path) -> None:
        self.plan, self.corpus, self.out, self.tokenizer = plan, corpus, out, tokenizer
        self.vocabulary = Vocabulary.read(tokenizer)
        torch.manual_seed(plan.seed)
        torch.set_num_threads(plan.threads)
        self.model = Nano(Shape(self.vocabulary.size))
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and n.startswith(("enc.", "dec."))]
        known = set(map(id, matrices))
        shared = [self.model.clock.weight, self.model.pace.weight]
        known.update(map(id, shared))
        rest = [p for p in self.model.parameters() if id(p) not in known]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(rest, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01),
            Muon(matrices, plan.rate),
            torch.optim.AdamW(shared, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01),
        ]
        self.step, self.seen, self.minutes, self.starts = 0, 0, 0.0, 0
        self.log: list[dict[str, float]] = []
        self.came_from = "random weights"
        self.fresh_ctc = False
        self.averaged: dict[str, Tensor] = {}

    def start_from(self, folder: Path) -> None:
        """Weights of another run (its averages), or of an exported model, which lacks what only training needs.

        Decoder layers that it lacks begin as copies of its last one that say nothing yet.
        """
        checkpoint = folder / "checkpoint.pt"
        if checkpoint.exists():
            state: dict[str, Tensor] = torch.load(checkpoint, weights_only=True)["averaged"]
        else:
            state = {name: torch.from_numpy(array.copy()) for name, array in read_weights(folder)[1].items()}
            self.fresh_ctc = True  # the characters' head learns by itself first
        have = len({name.split(".")[1] for name in state if name.startswith("dec.")})
        for name in [name for name in state if name.startswith(f"dec.{have - 1}.")]:
            silent = any(part in name for part in (".sa.o.", ".ca.o.", ".f2."))
            for i in range(have, self.model.shape.decoder_layers):
                copy = state[name].clone()
                state[name.replace(f"dec.{have - 1}.", f"dec.{i}.", 1)] = copy.zero_() if silent else copy
        self.model.load_state_dict(state, strict=False)
        if "pace.weight" not in state:
            self.model.share_positions(96)
        self.came_from = "another run" if checkpoint.exists() else "an exported model"

    def resume(self) -> None:
        """Go on from the last checkpoint of this run, its clock included."""
        state = torch.load(self.out / "checkpoint.pt", weights_only=True)
        self.model.load_state_dict(state["model"], strict=False)
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=False):
            optimizer.load_state_dict(saved)
        self.averaged = {k: t.clone() for k, t in self.model.state_dict().items()} | state["averaged"]
        for name in _PROGRESS:
            setattr(self, name, state[name])

    def save(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            **{name: getattr(self, name) for name in _PROGRESS},
        }
        torch.save(state, self.out / "checkpoint.tmp")
        (self.out / "checkpoint.tmp").replace(self.out / "checkpoint.pt")
        export(self.model.folded(self.averaged), self.model.shape, self.vocabulary, self.out / "model")
        run = {
            "plan": asdict(self.plan),
            "from": self.came_from,
            "starts": self.starts,
            "minutes": round(self.minutes, 1),
            "steps": self.step,
            "windows": self.seen,
            "shape": asdict(self.model.shape),
            "buckets": {str(frames): bucket for frames, bucket in BUCKETS.items()},
            "kinds": KINDS,
            "log": self.log,
        }
        (self.out / "run.json").write_text(json.dumps(run, indent=1) + "\n")

    def run(self) -> None:
        plan = self.plan
        context = multiprocessing.get_context("spawn")
        queue = context.Queue(8)
        self.starts += 1
        stop: list[int] = []  # filled by a signal: the step under way ends, a checkpoint is written
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, frame: stop.append(received))
        for i in range(plan.workers):
            seed = plan.seed * 10_000 + self.starts * 100 + i
            context.Process(target=_mix, args=(queue, self.corpus, self.tokenizer, seed), daemon=True).start()
        batch: Batch = queue.get()  # the clock starts when the mixers do
        began, already, saved = time.monotonic(), self.minutes, self.minutes
        running: dict[str, float] = {}
        cold = self.came_from == "random weights"  # the letters come first: without them the decoder only recites
        if not self.averaged:
            self.averaged = {k: t.detach().clone() for k, t in self.model.state_dict().items()}
        while self.minutes < plan.minutes and not stop:
            progress = self.minutes / plan.minutes
            rate = (
                plan.rate * min(1, (self.step + 1) / plan.warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))
            )
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate if isinstance(optimizer, Muon) else rate * plan.calm
            for name, value in self._learn(batch, ctc=1.0 if cold and progress < 0.5 else plan.letters).items():
                running[name] = value if name not in running else 0.98 * running[name] + 0.02 * value
            self.step += 1
            self.seen += len(batch.heard)
            self.minutes = already + (time.monotonic() - began) / 60
            if self.step % 50 == 0:
                self.log.append(
                    {"step": self.step, "minutes": round(self.minutes, 2), "rate": rate}
                    | {k: round(v, 4) for k, v in running.items()}
                )
                shown = " ".join(f"{k} {v:.3f}" for k, v in running.items())
                print(
                    f"{self.minutes:.1f} min, step {self.step}, {self.seen} windows, rate {rate:.1e}: {shown}",
                    flush=True,
                )
            if self.minutes - saved > plan.keep_minutes:
                self.save()
                saved = self.minutes
            batch = queue.get()
        self.save()

    def _spoken(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of the next token; a timestamp a step or two beside the right one is right in part.

        Nobody can tell the end of a word to 20 ms. Asked to, the 1,501 timestamps outshout the text.
        """
        first = self.vocabulary.first_timestamp
        stamped = targets >= first
        logs = scores.log_softmax(-1)
        exact = F.nll_loss(logs, targets, ignore_index=-100, reduction="none")
        rows, right = logs[stamped], targets[stamped]
        beside = torch.stack(
            [
                -share * rows.gather(1, (right + step).clamp(first, first + TIMESTAMPS - 1)[:, None])[:, 0]
                for step, share in _BESIDE.items()
            ]
        ).sum(0)
        total = exact[~stamped].sum() + beside.sum()
        return total / (targets >= 0).sum().clamp(min=1)

    def _astray(self, where: Tensor) -> Tensor:
        """How far the guided heads look from the sound of what they should write: -log of the attention that is there.

        Without it the decoder finds its way through one utterance, and through several only after many hours.
        """
        rows, columns = (where[..., 1] > 0).nonzero(as_tuple=True)
        start, end = (where[rows, columns] * 50).unbind(-1)  # encoder steps of 20 ms
        losses = []
        for layer in self.model.dec:
            looked = layer.ca.looked[rows, :GUIDED_HEADS, columns].float()  # type: ignore[union-attr, index]
            step = torch.arange(looked.shape[-1])
            there = (step > start[:, None] - 3) & (step < end[:, None] + 3)
            losses.append(-(looked * there[:, None]).sum(-1).clamp(min=1e-4).log().mean())
        return torch.stack(losses).mean()

    def _learn(self, batch: Batch, ctc: float) -> dict[str, float]:
        features, tokens = torch.from_numpy(batch.features), torch.from_numpy(batch.tokens)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            encoded = self.model.encode(features)
            # Only the positions that are asked are scored, filled up to multiples of 128: oneDNN prepares a kernel for
            # every new length. The fillers repeat position 0 and ask nothing.
            targets = torch.from_numpy(batch.targets).flatten()
            asked = (targets >= 0).nonzero().flatten()
            fill = -len(asked) % 128
            targets = F.pad(targets[asked], (0, fill), value=-100)
            asked = F.pad(asked, (0, fill))
            scores = self.model.score(self.model.decode(tokens, encoded).flatten(0, 1)[asked])
            characters = self.model.ctc(encoded.detach() if self.fresh_ctc and self.step < 150 else encoded)
        spoken = self._spoken(scores.float(), targets)
        spelled = F.ctc_loss(
            characters.float().log_softmax(-1).transpose(0, 1),
            torch.tensor([c for row in batch.characters for c in row], dtype=torch.long),
            torch.tensor(batch.heard),
            torch.tensor([len(row) for row in batch.characters]),
            reduction="sum",
            zero_infinity=True,
        ) / max(1, sum(map(len, batch.characters)))
        guided = self._astray(torch.from_numpy(batch.where))
        loss = spoken + ctc * spelled + self.plan.guide * guided
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        with torch.no_grad():
            keep = min(self.plan.average, (self.step + 1) / (self.step + 10))
            for name, value in self.model.state_dict().items():
                self.averaged[name].lerp_(value, 1 - keep)
        # Losses by length of the window: the long ones are what lags.
        return {
            "tokens": spoken.item(),
            "letters": spelled.item(),
            "astray": guided.item(),
            f"tokens@{'full' if batch.kind == '3000' else 'short'}": spoken.item(),
        }
