"""RT-DETR in Jittor. Every file has a twin of the same name in ``frameworks/torch_rtdetr``."""
