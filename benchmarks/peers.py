"""timm's ConvMixer trained as the authors train theirs, on our splits: the row that one of ours is compared with.

    python -m benchmarks.peers KEY=VALUE ... [--csv FILE]

`data.dataset=cifar10 epochs=3 train_batch_size=128`, say: images, splits, seed, network size, epochs, batch size and
the optimizer's values are those that the same keys give `experiment.py`; the authors' values stand unless they are
given. All the rest is the peers': the network and its start are timm's, images go one by one through torchvision's
transforms in a DataLoader, with the flip, the RandAugment and the piecewise linear schedule of
locuslab/convmixer-cifar10, whose README gives the values (`--lr-max=0.05 --wd=0.005`, 25 epochs; AdamW's own epsilon,
no clipping in its command). Nothing is chosen on the validation split; validation and test are measured once, after the
last epoch.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch
from timm.models.convmixer import ConvMixer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2

from benchmarks import tables
from convmixer.configs import Configs
from convmixer.configs.overrides import split_assignments
from convmixer.data.datasets import Dataset, Split
from convmixer.errors import UserError
from convmixer.experiment.summary import versions
from convmixer.tracking.labml_fixes import use_project_folder
from convmixer.training import schedules
from convmixer.training.hardware import choose_device, choose_precision, describe_device, keep_freed_memory

# The network and the values of the authors' command for 25 epochs, in the words of our keys.
AUTHORS = [
    "recipe=base",
    *(
        "optimizer.optimizer=AdamW",
        "optimizer.learning_rate=0.05",
        "optimizer.weight_decay=0.005",
        "optimizer.eps=1e-8",
    ),
    *("schedule=paper", "gradient_clip=none", "label_smoothing=0", "starts=[]"),
]
RANDAUGMENT = {"num_ops": 2, "magnitude": 12}


class Transformed(TorchDataset):
    """A split's images, each through `transform` when it is taken."""

    def __init__(self, split: Split, transform: v2.Transform) -> None:
        # A copy: of a part of the stored images, `split.images` would copy all for each that is taken.
        self.split, self.transform = split.in_memory(torch.device("cpu")), transform

    def __len__(self) -> int:
        return len(self.split.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.split.images[index].permute(2, 0, 1)), self.split.labels[index]


def transforms(dataset: Dataset) -> tuple[v2.Transform, v2.Transform]:
    """For training and for measuring: uint8 `[channels, height, width]` to normalised float32."""
    normalise = [v2.ToDtype(torch.float32, scale=True), v2.Normalize(dataset.mean, dataset.std)]
    augment = [v2.RandomHorizontalFlip(), v2.RandAugment(**RANDAUGMENT)]
    return v2.Compose([*augment, *normalise]), v2.Compose(normalise)


class Peer:
    """timm's ConvMixer in training."""

    def __init__(self, conf: Configs) -> None:
        self.device = choose_device(conf.device)
        self.precision = choose_precision(conf.precision, self.device)
        self.dataset, self.batch_size, self.epochs = conf.data.dataset, conf.train_batch_size, conf.epochs
        self.for_training, self.for_measuring = transforms(self.dataset)
        torch.manual_seed(conf.seed)
        size = {"kernel_size": conf.kernel_size, "patch_size": conf.patch_size, "num_classes": conf.n_classes}
        model = ConvMixer(conf.d_model, conf.n_layers, **size)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        values = conf.values()
        self.learning_rate, self.gradient_clip = values["optimizer.learning_rate"], conf.gradient_clip
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            self.learning_rate,
            weight_decay=values["optimizer.weight_decay"],
            eps=values["optimizer.eps"],
            fused=True,
        )

    def batches(self, split: Split, training: bool) -> DataLoader:
        transform = self.for_training if training else self.for_measuring
        return DataLoader(Transformed(split, transform), self.batch_size, shuffle=training, num_workers=1)

    def train(self, split: Split) -> None:
        """All epochs, a line on stderr after each."""
        batches = self.batches(split, training=True)
        for epoch in range(self.epochs):
            self.model.train()
            losses = []
            for number, (images, labels) in enumerate(batches):
                fraction = (epoch + (number + 0.5) / len(batches)) / self.epochs
                self.optimizer.param_groups[0]["lr"] = self.learning_rate * schedules.paper(fraction)
                losses.append(self.update(images.to(self.device), labels.to(self.device)))
            print(f"epoch {epoch + 1}/{self.epochs}: loss {torch.stack(losses).mean():.3f}", file=sys.stderr)

    def update(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update. Returns the loss."""
        loss = F.cross_entropy(self.logits(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        if self.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.gradient_clip)
        self.optimizer.step()
        return loss.detach()

    def logits(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not torch.float32):
            return self.model(images).float()

    @torch.inference_mode()
    def accuracy(self, split: Split) -> float:
        self.model.eval()
        batches = self.batches(split, training=False)
        hits = sum(int((self.logits(x.to(self.device)).argmax(1).cpu() == y).sum()) for x, y in batches)
        return hits / len(split.labels)


def measure(overrides: list[str]) -> tables.Row:
    """Train a peer, and return its row, with the columns of the table of recipes.

    Args:
        overrides: assignments of keys, after `AUTHORS`.
    """
    keep_freed_memory()
    conf = Configs()
    conf.override(split_assignments([*AUTHORS, *overrides]))
    peer = Peer(conf)
    started = time.perf_counter()
    peer.train(conf.train_split)
    seconds = time.perf_counter() - started
    return {
        "recipe": "timm's ConvMixer",
        "data": peer.dataset.name,
        "test": f"{peer.accuracy(peer.dataset.test):.4f}",
        "valid": f"{peer.accuracy(conf.valid_split):.4f}",
        "weights": "last",
        "seed": conf.seed,
        "epochs": peer.epochs,
        "minutes": f"{seconds / 60:.1f}",
        "images_per_second": f"{len(conf.train_split.labels) * peer.epochs / seconds:.0f}",
        "parameters": sum(p.numel() for p in peer.model.parameters()),
        "device": describe_device(peer.device),
        "precision": str(peer.precision).removeprefix("torch."),
        "python": versions()["python"],
        "torch": versions()["torch"],
        "commit": tables.commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "command": tables.shown(["python", "-m", "benchmarks.peers", *overrides]),
    }


def main() -> None:
    """Train one, and add its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--csv", type=Path, help="add the row to this file too")
    args = parser.parse_args()
    use_project_folder()
    try:
        row = measure(args.overrides)
    except UserError as error:
        sys.exit(f"error: {error}")
    print(f"valid {row['valid']}, test {row['test']} of {row['data']}, {row['minutes']} minutes")
    if args.csv:
        tables.put(args.csv, [row], key=("command", "date"))


if __name__ == "__main__":
    main()
