"""Encoders and the camera decoder: shapes with distinct primes, and what each part depends on."""

import pytest
import torch
from torch import Tensor

from wmctrl.model.encoders import CameraDecoder, CameraEncoder, Encoder, centred_pixels

B, T, P, UNITS, DEPTH = 5, 3, 7, 11, 2
CAMERA = (32, 48, 3)


def pixels(*batch: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (*batch, *CAMERA), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def proprio(*batch: int) -> Tensor:
    return torch.randn(*batch, P, generator=torch.Generator().manual_seed(0))


def test_pixels_are_centred() -> None:
    centred = centred_pixels(torch.tensor([0, 51, 255], dtype=torch.uint8))
    torch.testing.assert_close(centred, torch.tensor([-0.5, -0.3, 0.5]))


@pytest.mark.parametrize(("size", "camera"), [(P, None), (0, CAMERA), (P, CAMERA)])
def test_either_sense_alone_or_both_are_encoded(size: int, camera: tuple[int, int, int] | None) -> None:
    encoder = Encoder(size, camera, UNITS, 1, DEPTH)
    embedding = encoder(proprio(B, T) if size else None, pixels(B, T) if camera else None)
    assert embedding.shape == (B, T, encoder.outputs)


def test_a_task_that_observes_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="proprioception or a camera"):
        Encoder(0, None, UNITS, 1, DEPTH)


def test_both_senses_reach_the_embedding() -> None:
    encoder = Encoder(P, CAMERA, UNITS, 1, DEPTH).requires_grad_(False)
    before = encoder(proprio(B), pixels(B))
    for other in (encoder(proprio(B) + 1.0, pixels(B)), encoder(proprio(B), pixels(B, seed=1))):
        assert bool((other != before).any(-1).all())


@pytest.mark.parametrize("camera", [None, CAMERA])
def test_proprioception_stands_in_the_embedding_as_it_is(camera: tuple[int, int, int] | None) -> None:
    encoder = Encoder(P, camera, UNITS, 1, DEPTH)
    embedding = encoder(proprio(B, T), pixels(B, T) if camera else None)
    torch.testing.assert_close(embedding[..., encoder.as_is], proprio(B, T), rtol=0.0, atol=0.0)


def test_every_picture_is_encoded_by_itself() -> None:
    encoder = Encoder(0, CAMERA, UNITS, 1, DEPTH).requires_grad_(False)
    camera = pixels(B, T)
    torch.testing.assert_close(encoder(None, camera)[3, 1], encoder(None, camera[3, 1].unsqueeze(0))[0])


def test_decoder_gives_back_the_cameras_shape() -> None:
    assert CameraDecoder(UNITS, *CAMERA, DEPTH)(torch.zeros(B, UNITS)).shape == (B, *CAMERA)


def test_a_picture_goes_through_the_bottleneck_and_back() -> None:
    """Four pictures, each with a bright square in another corner, are told apart and painted again."""
    camera = torch.zeros(4, 16, 16, 1)
    for number, (row, column) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        camera[number, row : row + 8, column : column + 8] = 1.0
    camera -= 0.5
    torch.manual_seed(0)
    network = torch.nn.Sequential(CameraEncoder(16, 16, 1, 4, UNITS), CameraDecoder(UNITS, 16, 16, 1, 4))
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        (network(camera) - camera).square().mean().backward()
        optimizer.step()
    assert float((network(camera) - camera).detach().abs().max()) < 0.2
