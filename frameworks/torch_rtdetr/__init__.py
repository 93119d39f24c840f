"""RT-DETR in PyTorch. Every file has a twin of the same name in ``frameworks/jittor_rtdetr``."""
