"""Records a training update as a CUDA graph, which the host starts with one call.

Never run on a GPU yet: none was available. It is tested on a CPU, with a recorder in place of CUDA's.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convmixer.training.optimizers import learning_rates_on, state_tensors

WARM_UP_UPDATES = 3  # before a graph is recorded: they compile, choose kernels and make the optimizer's state

Inputs = tuple[Tensor | None, ...]
Outputs = tuple[Tensor, ...]
Update = Callable[..., Outputs]


class Recording(NamedTuple):
    """A recorded update: it reads `inputs`, which others are copied into, and writes `outputs`, at each `replay()`."""

    inputs: Inputs
    outputs: Outputs
    replay: Callable[[], None]


class CudaRecorder:
    """Records what is started on a GPU. All recordings share their memory, as they run one after another."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.memory = torch.cuda.graph_pool_handle()

    def warm_up(self, run: Callable[[], object]) -> None:
        """Run on another stream than the usual one, as PyTorch asks for before recording."""
        with torch.random.fork_rng(devices=[self.device]):
            side = torch.cuda.Stream(self.device)
            side.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(side):
                run()
            torch.cuda.current_stream(self.device).wait_stream(side)

    def record(self, run: Callable[[], Outputs]) -> tuple[Callable[[], None], Outputs]:
        """Record what `run` starts, without doing it. Returns what does it, and the results that this will write."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self.device), torch.cuda.graph(graph, pool=self.memory):
            outputs = run()
        return graph.replay, outputs


class GraphedUpdate:
    """An update of a model that is recorded once for each size of batch, and then replayed.

    Learning rates are read from tensors, so they may change from one update to the next. Any other value that an update
    uses is part of its recording: `key` names them all, and where one changes, the update is recorded anew. Weights,
    statistics and the optimizer's state are changed where they lie in memory: after others take their place, as an
    optimizer's do when a state is loaded, call `forget`.

    Args:
        update: makes an update from inputs, which are tensors or None, and returns tensors.
        key: the values that an update uses, beside tensors.
        recorder: a `CudaRecorder`.
    """

    def __init__(
        self,
        update: Update,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        key: Callable[[], Hashable],
        recorder: CudaRecorder,
    ) -> None:
        self.update = update
        self.model = model
        self.optimizer = optimizer
        self.key = key
        self.recorder = recorder
        self._recordings: dict[Hashable, Recording] = {}

    def __call__(self, *inputs: Tensor | None) -> Outputs:
        """Make an update. The results are overwritten by the next one."""
        recording = self.recording(*inputs)
        for own, given in zip(recording.inputs, inputs, strict=True):
            if own is not None:
                own.copy_(given)
        recording.replay()
        return recording.outputs

    def recording(self, *inputs: Tensor | None) -> Recording:
        """Return the recording for inputs like these; without one, record it, which leaves the training as it is."""
        key = (self.key(), *(None if x is None else (x.shape, x.stride(), x.dtype) for x in inputs))
        if key not in self._recordings:
            self._recordings[key] = self._record(inputs)
        return self._recordings[key]

    def forget(self) -> None:
        """Drop all recordings."""
        self._recordings.clear()

    def _record(self, inputs: Inputs) -> Recording:
        learning_rates_on(self.optimizer, self.recorder.device)
        before = {id(tensor): (tensor, tensor.clone()) for tensor in self._state()}
        own = tuple(None if x is None else x.clone() for x in inputs)

        def warm_up() -> None:
            for _ in range(WARM_UP_UPDATES):
                self.update(*own)

        self.recorder.warm_up(warm_up)
        replay, outputs = self.recorder.record(lambda: self.update(*own))
        with torch.no_grad():
            for tensor in self._state():
                if id(tensor) in before:
                    tensor.copy_(before[id(tensor)][1])
                else:  # an optimizer's state begins with zeros
                    tensor.zero_()
        return Recording(own, outputs, replay)

    def _state(self) -> Iterator[Tensor]:
        """All that an update changes."""
        yield from self.model.parameters()
        yield from self.model.buffers()
        yield from state_tensors(self.optimizer)
