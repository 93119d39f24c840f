"""The detector: backbone, hybrid encoder and decoder (RT-DETR, arXiv 2304.08069, 4.1; figure 4)."""

from torch import Tensor, nn

from frameworks.config import ModelSpec
from frameworks.torch_rtdetr.backbones import make_backbone
from frameworks.torch_rtdetr.decoder import Outputs, RTDETRTransformer
from frameworks.torch_rtdetr.denoising import Noise, Targets, make_denoising_queries
from frameworks.torch_rtdetr.encoder import HybridEncoder


class RTDETR(nn.Module):
    """RT-DETR or RT-DETRv2 of a spec."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = make_backbone(spec.backbone)
        self.encoder = HybridEncoder(spec)
        self.decoder = RTDETRTransformer(spec)

    def forward(
        self,
        images_B3HW: Tensor,
        targets: Targets | None = None,
        noise: Noise | None = None,
        topk_BQ: Tensor | None = None,
    ) -> Outputs:
        """RGB images in [0, 1], height and width multiples of 32, -> Outputs.

        Args:
            targets: makes denoising queries, in training mode only.
            noise: needed with targets where denoising is on.
            topk_BQ: tokens to select in place of the best ones; for comparisons across a tie, never for training.
        """
        queries = None
        if self.training and targets is not None:
            queries = make_denoising_queries(targets, noise, self.spec)
        return self.decoder(self.encoder(self.backbone(images_B3HW)), queries, topk_BQ)
