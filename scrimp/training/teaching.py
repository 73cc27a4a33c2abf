"""Learning from a bigger model's answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from scrimp.batches import Prepared
from scrimp.errors import SettingError
from scrimp.images.kinds import Task
from scrimp.models import Classifier
from scrimp.models.saved import load_model

_TEMPERATURE = 4.0


def teacher_loss(outputs: Tensor, teacher_outputs: Tensor, task: Task, sd: Tensor | None) -> Tensor:
    """How far each image's outputs are from its teacher's, (n,), at least 0; both outputs (n, outputs).

    classify: the Kullback-Leibler divergence of the probabilities at a temperature of 4, times its square, which keeps
    gradients as large as those of the labels (Hinton et al., arXiv 1503.02531). multilabel: binary cross-entropy with
    the teacher's probabilities, mean over the labels. regress: the squared difference in units of `sd`, as for labels.
    """
    outputs, teacher_outputs = outputs.float(), teacher_outputs.float()
    if task == "multilabel":
        wanted = teacher_outputs.sigmoid()
        return nn.functional.binary_cross_entropy_with_logits(outputs, wanted, reduction="none").mean(1)
    if task == "regress":
        assert sd is not None
        return ((outputs[:, 0] - teacher_outputs[:, 0]) / sd) ** 2
    given, wanted = ((logits / _TEMPERATURE).log_softmax(1) for logits in (outputs, teacher_outputs))
    return nn.functional.kl_div(given, wanted, reduction="none", log_target=True).sum(1) * _TEMPERATURE**2


def load_teacher(folder: str | Path, ready: Prepared) -> Classifier:
    """The model of a run folder, in eval mode on the CPU; its parameters ask for no gradients.

    Raises `SettingError` when it learnt another task or other classes than these images have, `NotFound` or
    `WeightsError` as `load_model` does. The sizes of images may differ, as far as the model can take others.
    """
    loaded, images = load_model(folder), ready.images
    if loaded.task != images.task:
        raise SettingError(
            f"teacher='{folder}' learnt task='{loaded.task}', but these images have task='{images.task}': take a "
            "teacher that was trained on the same task."
        )
    if loaded.classes != images.classes:
        raise SettingError(
            f"teacher='{folder}' knows {_listed(loaded.classes)}, but these images have {_listed(images.classes)}: "
            "take a teacher that was trained on the same classes."
        )
    return loaded.model.requires_grad_(False)


def _listed(classes: Sequence[str]) -> str:
    names = [f"'{name}'" for name in classes]
    shown = names if len(names) <= 12 else [*names[:10], "…", names[-1]]
    return f"{len(names):,} classes ({', '.join(shown)})"
