"""The names of the files in a run folder, for the runner that writes them and the reports that read them."""

# of the run
META = "run.json"
COMPLETE = "complete.json"
CERTIFICATE = "certificate.jsonl"  # the first step in float64, compared tensor by tensor
BOOTSTRAP = "bootstrap.jsonl"  # differences of COCO's numbers with their intervals
CLASSES = "classes.jsonl"  # AP of every class, and the differences
CURVES = "curves.jsonl"  # precision over recall
INITIAL = "initial.safetensors"
SAMPLES, SAMPLE_IMAGES = "samples.json", "samples.safetensors"
WEIGHTS_LOG = "weights.log"  # every tensor that a file did not give, by name
# of each framework and control, in a folder of its name
STEPS, EPOCHS, EVALUATION = "steps.jsonl", "epochs.jsonl", "evaluation.jsonl"
CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"
TENSORBOARD = "tensorboard"
FAILURE = "failure.json"
WORKER_LOG = "stderr.log"


def control(number: int) -> str:
    """The name and folder of a control, counted from 1."""
    return f"control{number}"


def manifest(split: str) -> str:
    """List of the images of a split, with their hashes."""
    return f"manifest_{split}.json"


def ground_truth(split: str) -> str:
    """The objects in the images of a split, in COCO's format."""
    return f"ground_truth_{split}.json"


def predictions(split: str) -> str:
    """A framework's detections on a split."""
    return f"predictions_{split}.json"


def kept_checkpoint(epochs: int) -> str:
    """A checkpoint after so many epochs, kept beside the last one."""
    return f"epoch_{epochs:04d}.safetensors"
