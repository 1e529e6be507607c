"""Images/s of the training step, end to end: ours beside labml_nn's, the same network on the same images.

    python -m benchmarks.throughput [--batch 64 256] [--model small 256/8] [--against labml_nn kernels=torch]
        [--rounds 5] [--seconds 5] [--csv FILE]

Ours is `Trainer.train_step` of the recipe `small` as a run has it: images in memory, augmented by the batch, Muon,
clipping, label smoothing, freed memory kept, native kernels where these can be compiled. Theirs is what
labml_nn's experiment does: its model, a DataLoader with torchvision's transforms in the training process, its Adam,
torch's allocator untouched. labml itself, which tracks every step there, is left out in their favour. `--against
kernels=torch` puts our own step without the native kernels on the other side.

Each side is a process of its own. They take turns, one working while the other waits, so that what else the machine
does meets both; a ratio is of two turns that follow each other. The first steps, which warm up, are not counted.
"""

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count, product
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import tables
from convmixer.configs import Configs
from convmixer.configs.building import build
from convmixer.model.variants import conv_mixer
from convmixer.tracking.labml_fixes import use_project_folder
from convmixer.training.hardware import cpu_name, keep_freed_memory


class Sizes(NamedTuple):
    """Those of a network, by their keys."""

    d_model: int
    n_layers: int
    kernel_size: int
    patch_size: int


MODELS = {"small": Sizes(128, 8, 5, 4), "256/8": Sizes(256, 8, 7, 2)}
WARM_UP_STEPS = 4
TRAINING_IMAGES = 50_000

Step = Callable[[], None]


@dataclass(frozen=True)
class Result:
    """One line of the report; rates in images/s, `ratio` is ours over theirs."""

    model: str
    batch: int
    against: str
    ours: float
    theirs: float
    ratio: float
    ratio_min: float
    ratio_max: float
    gflops: float  # useful float32 arithmetic of our step, GFLOP/s
    peak: float  # of a matrix product on this machine, GFLOP/s
    threads: int
    cpu: str
    torch: str


def images_and_labels() -> tuple[Tensor, Tensor]:
    """As many images as CIFAR-10 has for training: uint8 [n, 32, 32, 3] and int64 [n]. Noise is as quick as cats."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (TRAINING_IMAGES, 32, 32, 3), dtype=torch.uint8, generator=generator)
    return images, torch.arange(TRAINING_IMAGES) % 10


def our_step(sizes: Sizes, batch_size: int, kernels: str = "auto") -> Step:
    """Return a training step of the recipe `small`, with its optimizer and augmentation, of this network."""
    keep_freed_memory()
    use_project_folder()
    conf = Configs()
    given = {"recipe": "small", "data.dataset": "shapes", "kernels": kernels, "train_batch_size": batch_size}
    conf.override(given | sizes._asdict())
    trainer = build(conf).trainer
    trainer.model.train()
    endless = (batch for epoch in count() for batch in trainer.train.epoch(epoch) if len(batch[1]) == batch_size)
    return lambda: trainer.train_step(next(endless))


def their_step(sizes: Sizes, batch_size: int) -> Step:
    """A training step as labml_nn's conv_mixer experiment makes it, without the tracking."""
    from labml_nn import conv_mixer as theirs
    from labml_nn.optimizers import WeightDecay
    from labml_nn.optimizers.adam import Adam

    d_model, n_layers, kernel_size, patch_size = sizes
    model = theirs.ConvMixer(
        theirs.ConvMixerLayer(d_model, kernel_size),
        n_layers,
        theirs.PatchEmbeddings(d_model, patch_size, 3),
        theirs.ClassificationHead(d_model, 10),
    )
    optimizer = Adam(model.parameters(), lr=2.5e-4, eps=1e-8, weight_decay=WeightDecay(0.0))
    batches = their_batches(batch_size)
    hits = 0

    def step() -> None:
        nonlocal hits
        model.train()
        images, labels = next(batches)
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
        hits += logits.argmax(dim=-1).eq(labels).sum().item()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


SIDES = {"labml_nn": their_step, "kernels=torch": partial(our_step, kernels="torch")}


def their_batches(batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches from torchvision's CIFAR10, holding our images, through the experiment's transforms."""
    from torchvision import transforms
    from torchvision.datasets import CIFAR10

    data = CIFAR10.__new__(CIFAR10)  # its __init__ would want the files
    data.data, data.targets = (part.numpy() for part in images_and_labels())
    data.target_transform = None
    data.transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ]
    )
    loader = torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True)
    return (batch for _ in count() for batch in loader)


def work(make_step: Callable[[Sizes, int], Step], sizes: Sizes, batch_size: int, parent: Connection) -> None:
    """One side: warms up, then for every number of seconds received sends the images/s of as long a turn."""
    torch.manual_seed(0)
    step = make_step(sizes, batch_size)
    for _ in range(WARM_UP_STEPS):
        step()
    parent.send("ready")
    while (seconds := parent.recv()) is not None:
        steps, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < seconds:
            step()
            steps += 1
        parent.send(steps * batch_size / elapsed)


class Side:
    """A process that waits until it is its turn."""

    def __init__(self, make_step: Callable[[Sizes, int], Step], sizes: Sizes, batch_size: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, child = spawn.Pipe()
        self.process = spawn.Process(target=work, args=(make_step, sizes, batch_size, child), daemon=True)
        self.process.start()
        child.close()  # a side that dies then ends our wait
        self.connection.recv()

    def turn(self, seconds: float) -> float:
        """Images/s over about `seconds`."""
        self.connection.send(seconds)
        return self.connection.recv()

    def stop(self) -> None:
        self.connection.send(None)
        self.process.join()


def multiply_adds(model: nn.Module, image: Tensor) -> int:
    """Multiply-adds of all convolutions and linear maps for one image, forward."""
    total = 0

    def add(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        total += module.weight[0].numel() * output.numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    model(image)
    return total


def gflop_per_image(model_name: str) -> float:
    """Useful arithmetic of a training step: forward, and twice as much backward; two operations a multiply-add."""
    model = conv_mixer(*MODELS[model_name]).eval()
    return 2 * 3 * multiply_adds(model, torch.zeros(1, 3, 32, 32)) / 1e9


def cpu_or_wall_clock() -> Callable[[], float]:
    """Seconds; with one thread, of that thread's work: waiting for a core that others use does not count."""
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def matrix_product_peak(size: int = 2048, trials: int = 4) -> float:
    """GFLOP/s of the best of a few float32 matrix products with this process's number of threads.

    Made both by the BLAS and, as a 1x1 convolution, by oneDNN: which is faster differs from CPU to CPU.
    """
    a, b = torch.rand(size, size), torch.rand(size, size)
    places = torch.rand(1, size, size, 1).to(memory_format=torch.channels_last)
    weights = b[:, :, None, None]
    clock = cpu_or_wall_clock()
    seconds = []
    for multiply in [lambda: a @ b, lambda: F.conv2d(places, weights)] * trials:
        started = clock()
        multiply()
        seconds.append(clock() - started)
    return 2 * size**3 / min(seconds) / 1e9


def compare(model_name: str, batch_size: int, against: str, rounds: int, seconds: float) -> Result:
    """Both sides in turns; the order within a round changes from round to round."""
    sides = [Side(make_step, MODELS[model_name], batch_size) for make_step in (our_step, SIDES[against])]
    peaks, rates = [], []
    for number in range(rounds):
        peaks.append(matrix_product_peak())
        order = sides if number % 2 == 0 else sides[::-1]
        turns = {side: side.turn(seconds) for side in order}
        rates.append([turns[side] for side in sides])
    for side in sides:
        side.stop()
    ours, theirs = (median(column) for column in zip(*rates, strict=True))
    ratios = [our_rate / their_rate for our_rate, their_rate in rates]
    return Result(
        model_name,
        batch_size,
        against,
        ours,
        theirs,
        median(ratios),
        min(ratios),
        max(ratios),
        gflops=ours * gflop_per_image(model_name),
        peak=max(peaks),
        threads=torch.get_num_threads(),
        cpu=cpu_name(),
        torch=torch.__version__,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--model", choices=MODELS, nargs="+", default=list(MODELS))
    parser.add_argument("--against", choices=SIDES, nargs="+", default=["labml_nn"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one turn of one side")
    parser.add_argument("--csv", type=Path, help="add the figures to this file, in place of earlier ones")
    args = parser.parse_args()

    print(f"{cpu_name()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("images/s, medians      ours    theirs   ratio (min..max)      our GFLOP/s   matrix-product peak   against")
    results = []
    for model_name, batch_size, against in product(args.model, args.batch, args.against):
        r = compare(model_name, batch_size, against, args.rounds, args.seconds)
        spread = f"{r.ratio:.2f} ({r.ratio_min:.2f}..{r.ratio_max:.2f})"
        print(
            f"{r.model:6} batch {r.batch:<6} {r.ours:8.1f}  {r.theirs:8.1f}   {spread:20}"
            f"  {r.gflops:11.1f}   {r.peak:19.1f}   {r.against}",
            flush=True,
        )
        results.append(r)
    if args.csv:
        tables.put(args.csv, map(asdict, results), key=("model", "batch", "against"))


if __name__ == "__main__":
    main()
