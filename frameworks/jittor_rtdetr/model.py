"""The detector: backbone, hybrid encoder, decoder."""

from jittor import Var, nn

from frameworks.config import BackboneSpec, DLASpec, HGNetv2Spec, ModelSpec, PResNetSpec, RegNetSpec
from frameworks.jittor_rtdetr.backbones.dla import DLA
from frameworks.jittor_rtdetr.backbones.hgnetv2 import HGNetv2
from frameworks.jittor_rtdetr.backbones.presnet import PResNet
from frameworks.jittor_rtdetr.backbones.regnet import RegNet
from frameworks.jittor_rtdetr.decoder import Outputs, RTDETRTransformer
from frameworks.jittor_rtdetr.denoising import Noise, Targets, make_denoising_queries
from frameworks.jittor_rtdetr.encoder import HybridEncoder


class RTDETR(nn.Module):
    """Images [B, 3, H, W] in [0, 1] -> Outputs. Training mode needs targets (and noise) for denoising."""

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
        queries = None
        if self.is_train and targets is not None:
            queries = make_denoising_queries(targets, noise, self.spec)
        return self.decoder(self.encoder(self.backbone(images_B3HW)), queries, topk_BQ)


def make_backbone(spec: BackboneSpec) -> PResNet | HGNetv2 | DLA | RegNet:
    """The backbone that the type of ``spec`` names."""
    match spec:
        case PResNetSpec():
            return PResNet(spec)
        case HGNetv2Spec():
            return HGNetv2(spec)
        case DLASpec():
            return DLA(spec)
        case RegNetSpec():
            return RegNet(spec)
