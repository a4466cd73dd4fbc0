"""Train the small encoder that is bundled with skdne; see docs/model_card.md.

    python tools/train_encoder.py --images <folder> --out skdne/encoders/bundled.safetensors

A vision transformer learns, without any label of a patient, (1) to fill in masked patches (He et
al., Masked autoencoders are scalable vision learners, CVPR 2022) and (2) to name, patch by patch,
what this script itself drew into the image: soft opacities, striped textures, erased boxes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from skdne.datasets.synthetic import render_phantoms

SIZE, PATCH, WIDTH = 128, 16, 128
GRID = SIZE // PATCH
# A timm name and what to change about it: `timm.create_model(MODEL, **CHANGES)`.
MODEL = "vit_tiny_patch16_224"
CHANGES = {"in_chans": 1, "embed_dim": WIDTH, "depth": 6, "num_heads": 4}


def training_patients(metadata: pd.DataFrame, n_patients: int, seed: int) -> list[int]:
    """Choose the patients to train on; the others are for reporting."""
    patients = np.unique(metadata["patient_id"])
    return sorted(np.random.default_rng(seed).permutation(patients)[:n_patients].tolist())


def read_radiographs(folder: Path, patients: list[int]) -> Tensor:
    """Read the images of these patients, (n, 1, SIZE, SIZE) in [0, 1]; no label is read."""
    metadata = pd.read_csv(folder / "metadata.csv", usecols=["image", "patient_id"])
    images = []
    for name in metadata.loc[metadata["patient_id"].isin(patients), "image"]:
        with Image.open(folder / "images" / name) as image:
            grey = image.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)
            images.append(np.asarray(grey, dtype=np.float32) / 255)
    return torch.from_numpy(np.stack(images))[:, None]


def augment(x: Tensor, rng: torch.Generator) -> Tensor:
    """Turn, zoom, shift and re-expose each image a little."""
    n = len(x)
    angle, zoom, right, down = (torch.randn(4, n, generator=rng) * 0.06).clamp(-0.15, 0.15)
    cos, sin = (1 + zoom) * torch.cos(angle), (1 + zoom) * torch.sin(angle)
    rows = torch.stack([cos, -sin, right, sin, cos, down], dim=1).view(n, 2, 3)
    grid = nn.functional.affine_grid(rows, list(x.shape), align_corners=False)
    x = nn.functional.grid_sample(x, grid, padding_mode="border", align_corners=False)
    gain, offset, gamma = 0.1 * torch.randn(3, n, 1, 1, 1, generator=rng)
    return (x.clamp(1e-4, 1) ** torch.exp(2 * gamma) * (1 + gain) + 0.5 * offset).clamp(0, 1)


def draw(x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw random things into the images; return them and what was drawn, (n, tokens, 4).

    The four numbers of a patch: mean opacity, relative contrast of the texture times the cosine and
    the sine of twice its angle, erased share.
    """
    n = len(x)
    at = (torch.arange(SIZE) + 0.5) / SIZE
    down, across = at.view(1, 1, SIZE, 1), at.view(1, 1, 1, SIZE)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=rng)

    def present(share: float) -> Tensor:
        return (torch.rand(n, 1, 1, 1, generator=rng) < share).float()

    def box(low: float, high: float) -> Tensor:
        half_height, half_width = uniform(low, high) / 2, uniform(low, high) / 2
        inside = (down - uniform(0, 1)).abs() < half_height
        return (inside & ((across - uniform(0, 1)).abs() < half_width)).float()

    opacities = torch.zeros_like(x)
    for _ in range(2):
        square = (down - uniform(0.1, 0.9)) ** 2 + (across - uniform(0.05, 0.95)) ** 2
        soft = (1 - square / uniform(0.06, 0.16) ** 2).clamp(min=0) ** 2
        opacities += present(0.5) * uniform(0.03, 0.35) * soft
    texture, cosine, sine, total = torch.zeros(4, *x.shape)
    # Two boxes of strong texture; now and then a weak one over the whole image.
    for low, high, share, most in ((0.1, 0.4, 0.6, 0.2), (0.1, 0.4, 0.4, 0.2), (3, 4, 0.15, 0.06)):
        angle = uniform(0, torch.pi)
        where = box(low, high) * present(share) * uniform(0.02, most)
        wave = torch.cos(angle) * across + torch.sin(angle) * down
        texture += where * torch.sin(2 * torch.pi * (wave / uniform(0.03, 0.09) + uniform(0, 1)))
        cosine, sine = cosine + where * torch.cos(2 * angle), sine + where * torch.sin(2 * angle)
        total += where
    # A mask: a strong pattern, of no orientation to name, that drowns the texture beneath it.
    for grain in (1, 4):
        where = box(0.15, 0.6) * present(0.35) * uniform(0.05, 1) ** 2
        pattern = torch.randn(n, 1, SIZE // grain, SIZE // grain, generator=rng)
        texture += where * nn.functional.interpolate(pattern, size=(SIZE, SIZE), mode="nearest")
        total += where
    erased = torch.clamp(box(0.12, 0.4) * present(0.3) + box(0.12, 0.4) * present(0.2), max=1)
    fill = uniform(-0.5, 1.5).clamp(0, 1)
    x = x + opacities + texture
    x = torch.where(present(0.5) > 0, x, x.clamp(0, 1)) * (1 - erased) + fill * erased
    # Contrast gain control, as eyes have it: a texture counts by its share of the local contrast.
    kept = 1 - erased
    gain = 1.3 * kept / (0.04 + total)
    drawn = torch.cat([10 * opacities * kept, gain * cosine, gain * sine, erased], dim=1)
    return x, nn.functional.avg_pool2d(drawn, PATCH).flatten(2).transpose(1, 2)


class Learner(nn.Module):
    """The encoder with the two heads that only training needs."""

    def __init__(self, mean: float, std: float, depth: int = 2, width: int = 96) -> None:
        super().__init__()
        self.encoder = timm.create_model(MODEL, num_classes=0, img_size=SIZE, **CHANGES)
        self.mean, self.std = mean, std
        # Fixed directions of fixed length: what was drawn then shows in the embedding as plainly
        # as anatomy does; a free head would be content with a faint trace.
        self.name = nn.Linear(WIDTH, 4)
        nn.init.orthogonal_(self.name.weight, 0.5).requires_grad_(False)
        self.narrow = nn.Linear(WIDTH, width)
        self.hidden = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, GRID**2, width))
        self.decoder = nn.Sequential(*[Block(width, 4, 2.0, qkv_bias=True) for _ in range(depth)])
        self.pixels = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, PATCH**2))

    def naming_loss(self, x: Tensor, drawn: Tensor) -> Tensor:
        tokens = self.encoder.forward_features((x - self.mean) / self.std)[:, 1:]
        error = nn.functional.smooth_l1_loss(
            self.name(tokens).float(), drawn, beta=0.2, reduction="none"
        )
        return (error.mean(dim=(0, 1)) * torch.tensor([3.0, 1.0, 1.0, 1.0])).mean()

    def masking_loss(self, x: Tensor, visible: int, rng: torch.Generator) -> Tensor:
        z, n = (x - self.mean) / self.std, len(x)
        encoder = self.encoder
        tokens = encoder._pos_embed(encoder.patch_embed(z))
        order = torch.rand(n, GRID**2, generator=rng).argsort(1)
        keep = order[:, :visible, None]
        seen = tokens[:, 1:].gather(1, keep.expand(-1, -1, WIDTH))
        seen = encoder.norm(encoder.blocks(torch.cat([tokens[:, :1], seen], dim=1)))[:, 1:]
        seen = self.narrow(seen)
        full = self.hidden.to(seen.dtype).expand(n, GRID**2, -1)
        full = full.scatter(1, keep.expand(-1, -1, seen.shape[2]), seen) + self.place
        guess = self.pixels(self.decoder(full)).float()
        patches = nn.functional.unfold(z, PATCH, stride=PATCH).transpose(1, 2)
        centred = patches - patches.mean(2, keepdim=True)
        # The usual per-patch normalisation, with a floor so that grain in flat patches counts less.
        goal = torch.cat([centred / (patches.var(2, keepdim=True) + 0.01).sqrt()], dim=2)
        error = ((guess - goal) ** 2).mean(2)
        return error.gather(1, order[:, visible:]).mean()


def train(
    real: Tensor, steps: int, batch: int, rate: float, seed: int, start: Path | None
) -> Learner:
    """Train for this many steps; half of each batch are phantoms."""
    phantoms = render_phantoms(np.random.default_rng(seed), 4096, SIZE).clip(0, 1)
    made = torch.from_numpy(phantoms)[:, None]
    mean, std = round(float(real.mean()), 4), round(float(real.std()), 4)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    learner = Learner(mean, std).train()
    if start is not None:
        learner.load_state_dict(torch.load(start, weights_only=True))
    optimizer = torch.optim.AdamW(learner.parameters(), rate, betas=(0.9, 0.95), weight_decay=0.05)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.08)
    begin, sums = time.monotonic(), np.zeros(2)
    for step in range(1, steps + 1):
        half = batch // 2
        x = torch.cat([d[torch.randint(len(d), (half,), generator=rng)] for d in (real, made)])
        x, drawn = draw(augment(x, rng), rng)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = learner.naming_loss(x, drawn), learner.masking_loss(x, 20, rng)
        optimizer.zero_grad()
        (3 * loss[0] + loss[1]).backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        plan.step()
        sums += [float(part.detach()) for part in loss]
        if step % 25 == 0:
            naming, masking = sums / 25
            seconds = time.monotonic() - begin
            print(
                f"{step:6d} naming {naming:.4f} masking {masking:.4f} {seconds:.0f} s", flush=True
            )
            sums[:] = 0
    return learner


def main() -> None:
    """Read the arguments, train, write the weights."""
    parser = argparse.ArgumentParser(description="Train the bundled encoder.")
    parser.add_argument("--images", type=Path, required=True, help="with metadata.csv, images/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=311)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="go on from this state of the learner")
    parser.add_argument("--state", type=Path, help="write the state of the learner here, too")
    args = parser.parse_args()

    metadata = pd.read_csv(args.images / "metadata.csv")
    patients = training_patients(metadata, args.patients, args.seed)
    real = read_radiographs(args.images, patients)
    learner = train(real, args.steps, args.batch, args.rate, args.seed, args.start)
    if args.state is not None:
        torch.save(learner.state_dict(), args.state)
    recipe = {
        "model_name": MODEL,
        "model_kwargs": CHANGES,
        "img_size": SIZE,
        "mean": learner.mean,
        "std": learner.std,
        "pooling": [2, 2],
        "trained_on": f"{len(real)} images of NIH ChestX-ray14 (no labels), 4096 skdne phantoms",
        "training": {k: v for k, v in vars(args).items() if isinstance(v, int | float)},
    }
    header = {"skdne": json.dumps(recipe), "nih_patients": json.dumps(patients)}
    weights = {k: v.detach().half().contiguous() for k, v in learner.encoder.state_dict().items()}
    save_file(weights, args.out, metadata=header)
    size, count = args.out.stat().st_size / 1e6, sum(v.numel() for v in weights.values())
    print(f"{args.out}: {size:.2f} MB, {count} parameters")


if __name__ == "__main__":
    main()
