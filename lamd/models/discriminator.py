"""Video discriminator of stage I: a 3-D PatchGAN (the paper says only `video`)."""

from torch import Tensor, nn

from lamd.config import GANConfig
from lamd.nn import FullConv, group_norm

_GAIN = 8.0  # neighbouring frames differ by a few grey levels


class VideoDiscriminator(nn.Module):
    """Strided 3-D convolutions that score each space-time patch of a clip or of its differences."""

    def __init__(self, config: GANConfig):
        super().__init__()
        self.sees_differences = config.input == "differences"
        width = config.base_channels
        layers: list[nn.Module] = [
            nn.Conv3d(3, width, (3, 4, 4), stride=(1, 2, 2), padding=1),
            nn.LeakyReLU(0.2),
        ]
        for i in range(1, config.num_layers):
            wider = config.base_channels * min(2**i, 8)
            conv = nn.Conv3d(width, wider, 4, stride=2, padding=1, bias=False)
            layers += [conv, group_norm(wider), nn.LeakyReLU(0.2)]
            width = wider
        self.layers = nn.Sequential(*layers, FullConv(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map clips (B, L, 3, H, W) in [-1, 1] to logits (B, 1, L', H', W'); real is positive."""
        if self.sees_differences:
            x = _GAIN * x.diff(dim=1)
        return self.layers(x.transpose(1, 2))
