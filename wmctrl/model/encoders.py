"""Perception: proprioception and camera to one embedding, and the camera back from features."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from wmctrl.model.nets import mlp


class CameraEncoder(nn.Module):
    """Stride-2 convolutions from (h, w, c) pixels to a vector; h and w must be multiples of 16."""

    def __init__(self, height: int, width: int, channels: int, depth: int, outputs: int) -> None:
        super().__init__()
        if height % 16 or width % 16:
            raise ValueError(f"a picture's height and width must be multiples of 16, came {height} x {width}")
        sizes = [channels, depth, 2 * depth, 3 * depth, 4 * depth]
        layers: list[nn.Module] = []
        for source, target in itertools.pairwise(sizes):
            layers += [nn.Conv2d(source, target, 4, stride=2, padding=1), nn.SiLU()]
        # A third faster on a CPU than the other order of axes, which is also not the one that pictures come in.
        self.convolutions = convert_conv2d_weight_memory_format(nn.Sequential(*layers), torch.channels_last)
        self.project = mlp(sizes[-1] * (height // 16) * (width // 16), outputs, 1)

    def forward(self, camera: Tensor) -> Tensor:
        """Embedding (N, outputs) of pixels (N, h, w, c) in [-0.5, 0.5]."""
        projected: Tensor = self.project(self.convolutions(camera.permute(0, 3, 1, 2)).flatten(1))
        return projected


class CameraDecoder(nn.Module):
    """Mirror of `CameraEncoder`: features to the mean of a unit-variance Gaussian over pixels."""

    def __init__(self, inputs: int, height: int, width: int, channels: int, depth: int) -> None:
        super().__init__()
        sizes = [4 * depth, 3 * depth, 2 * depth, depth, channels]
        self.start = (sizes[0], height // 16, width // 16)
        self.expand = nn.Linear(inputs, sizes[0] * (height // 16) * (width // 16))
        layers: list[nn.Module] = []
        for source, target in itertools.pairwise(sizes):
            layers += [nn.SiLU(), nn.ConvTranspose2d(source, target, 4, stride=2, padding=1)]
        self.convolutions = convert_conv2d_weight_memory_format(nn.Sequential(*layers), torch.channels_last)

    def forward(self, features: Tensor) -> Tensor:
        """Pixels (N, h, w, c) around [-0.5, 0.5] from features (N, inputs)."""
        coarse = self.expand(features).unflatten(-1, self.start).contiguous(memory_format=torch.channels_last)
        pixels: Tensor = self.convolutions(coarse)
        return pixels.permute(0, 2, 3, 1)


class Encoder(nn.Module):
    """Fuses what is there: proprioception, camera, or both, each through its own network."""

    def __init__(self, proprio: int, camera: tuple[int, int, int] | None, units: int, layers: int, depth: int) -> None:
        super().__init__()
        if not proprio and camera is None:
            raise ValueError("A model needs proprioception or a camera; the task observes neither.")
        self.proprio = mlp(proprio, units, layers) if proprio else None
        self.camera = CameraEncoder(*camera, depth, units) if camera else None
        self.outputs = units * (bool(proprio) + bool(camera)) + proprio
        self.as_is = slice(0, proprio)
        """Where the embedding holds proprioception unchanged."""

    def forward(self, proprio: Tensor | None, camera: Tensor | None) -> Tensor:
        """Embedding (..., outputs) of normalised proprioception (..., O) and pixels (..., h, w, c) uint8."""
        parts = []
        if self.proprio is not None:
            assert proprio is not None, "this encoder was built for proprioception"
            parts += [proprio, self.proprio(proprio)]
        if self.camera is not None:
            assert camera is not None, "this encoder was built for a camera"
            flat = camera.flatten(0, -4)
            parts.append(self.camera(centred_pixels(flat)).unflatten(0, camera.shape[:-3]))
        return torch.cat(parts, -1)


def centred_pixels(camera: Tensor) -> Tensor:
    """uint8 pixels as floats in [-0.5, 0.5]."""
    return camera.to(torch.promote_types(camera.dtype, torch.float32)) / 255.0 - 0.5
