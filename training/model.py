"""The scoring network in torch: three fully connected layers over raw features, the standardisation inside."""

from __future__ import annotations

import math
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from training.mlp_weights import CLIP, HIDDEN, Floats, MlpWeights, log1p_mask


class Mlp(nn.Module):
    """Raw features in, one logit a click out; sigmoid(logit) is the score, robotic upwards.

    To train: `mean, scale = standardisation(raw)` (training.mlp_weights), `net = Mlp(mean, scale, seed=7)`, loss on
    `net(x)`; L2 on `net.first` and `net.second` by parameter groups; then `save_weights(net.to_weights())`.

    Args:
        mean, scale: float32, shape (features,), of the transformed columns. Scale 0 marks a column that was constant
            in training: it never moves a score.
        seed: of the initial weights; the global generator is not touched.
        hidden: the two hidden widths.

    Example:
        >>> net = Mlp(np.zeros(76, np.float32), np.ones(76, np.float32), seed=1)
        >>> net(torch.zeros(3, 76)).shape
        torch.Size([3])
    """

    log1p: Tensor
    mean: Tensor
    inverse_scale: Tensor

    def __init__(self, mean: Floats, scale: Floats, *, seed: int = 0, hidden: tuple[int, int] = HIDDEN) -> None:
        super().__init__()
        mask = log1p_mask()
        if mean.shape != mask.shape or scale.shape != mask.shape:
            raise ValueError(f"mean and scale must have shape {mask.shape}, came {mean.shape} and {scale.shape}")
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        self.register_buffer("log1p", torch.from_numpy(mask))
        self.register_buffer("mean", torch.from_numpy(mean.copy()))
        self.register_buffer("inverse_scale", torch.from_numpy(inverse))
        generator = torch.Generator().manual_seed(seed)
        self.first = _linear(len(mask), hidden[0], generator)
        self.second = _linear(hidden[0], hidden[1], generator)
        self.head = _linear(hidden[1], 1, generator)

    def forward(self, features: Tensor) -> Tensor:
        """Logits, shape (clicks,), of raw features, float32, shape (clicks, features)."""
        return self.from_standardised(self.standardise(features))

    def standardise(self, features: Tensor) -> Tensor:
        """What the layers see, (clicks, features). No parameter in it: a trainer may compute it once."""
        logs = torch.log(1.0 + torch.clamp(features, min=0.0))
        transformed = torch.where(self.log1p, logs, features)  # (clicks, features)
        return torch.clamp((transformed - self.mean) * self.inverse_scale, -CLIP, CLIP)

    def from_standardised(self, standardised: Tensor) -> Tensor:
        """Logits, shape (clicks,), of what `standardise` gave."""
        hidden = torch.relu(self.first(standardised))  # (clicks, 256)
        hidden = torch.relu(self.second(hidden))  # (clicks, 128)
        logits: Tensor = self.head(hidden)  # (clicks, 1)
        return logits.squeeze(-1)

    def to_weights(self) -> MlpWeights:
        """A copy of everything the network computes with, for the release."""

        def array(tensor: Tensor) -> Floats:
            return tensor.detach().to("cpu", torch.float32).numpy().copy()

        return MlpWeights(
            log1p=self.log1p.cpu().numpy().copy(),
            mean=array(self.mean),
            inverse_scale=array(self.inverse_scale),
            first_weight=array(self.first.weight),
            first_bias=array(self.first.bias),
            second_weight=array(self.second.weight),
            second_bias=array(self.second.bias),
            head_weight=array(self.head.weight),
            head_bias=array(self.head.bias),
        )

    @classmethod
    def from_weights(cls, weights: MlpWeights) -> Self:
        """The network with these weights, in evaluation mode."""
        hidden = (len(weights.first_bias), len(weights.second_bias))
        net = cls(weights.mean, np.ones_like(weights.mean), hidden=hidden)
        state = {
            "log1p": weights.log1p,
            "mean": weights.mean,
            "inverse_scale": weights.inverse_scale,
            "first.weight": weights.first_weight,
            "first.bias": weights.first_bias,
            "second.weight": weights.second_weight,
            "second.bias": weights.second_bias,
            "head.weight": weights.head_weight,
            "head.bias": weights.head_bias,
        }
        net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
        return net.eval()


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    # Linear's own initialisation would draw from the global generator: on "meta" it has nothing to fill
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return layer
