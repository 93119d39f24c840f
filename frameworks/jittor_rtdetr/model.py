"""The detector: backbone, hybrid encoder and decoder (RT-DETR, arXiv 2304.08069, 4.1; figure 4)."""

from jittor import Var, nn

from frameworks.config import ModelSpec
from frameworks.jittor_rtdetr.backbones import make_backbone
from frameworks.jittor_rtdetr.decoder import Outputs, RTDETRTransformer
from frameworks.jittor_rtdetr.denoising import Noise, Targets, make_denoising_queries
from frameworks.jittor_rtdetr.encoder import HybridEncoder


class RTDETR(nn.Module):
    """RT-DETR or RT-DETRv2 of a spec."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.backbone = make_backbone(spec.backbone)
        self.encoder = HybridEncoder(spec)
        self.decoder = RTDETRTransformer(spec)

    def execute(
        self,
        images_B3HW: Var,
        targets: Targets | None = None,
        noise: Noise | None = None,
        topk_BQ: Var | None = None,
    ) -> Outputs:
        """RGB images in [0, 1], height and width multiples of 32, -> Outputs.

        Args:
            targets: makes denoising queries, in training mode only.
            noise: needed with targets where denoising is on.
            topk_BQ: tokens to select in place of the best ones; for comparisons across a tie, never for training.
        """
        queries = None
        if self.is_train and targets is not None:
            queries = make_denoising_queries(targets, noise, self.spec)
        return self.decoder(self.encoder(self.backbone(images_B3HW)), queries, topk_BQ)
