import math
from types import SimpleNamespace

import pytest
import torch

from scrimp.errors import NotFound, SettingError
from scrimp.models import build
from scrimp.models.saved import save_model
from scrimp.training.teaching import load_teacher, teacher_loss


def test_soft_classes_by_hand():
    # The teacher's logits 4 and 0 are 1 and 0 at a temperature of 4: e / (1 + e) and 1 / (1 + e).
    sure = math.e / (1 + math.e)
    expected = 16 * (sure * math.log(sure / 0.5) + (1 - sure) * math.log((1 - sure) / 0.5))
    outputs = torch.zeros(2, 2, requires_grad=True)
    losses = teacher_loss(outputs, torch.tensor([[4.0, 0.0], [7.0, 7.0]]), "classify", None)
    assert losses.tolist() == pytest.approx([expected, 0], abs=1e-6)
    losses.sum().backward()
    # Equation 2 of the paper, times the temperature squared: 4 (q - p).
    assert outputs.grad[0].tolist() == pytest.approx([4 * (0.5 - sure), 4 * (sure - 0.5)], abs=1e-6)


def test_several_labels_by_hand():
    # The teacher says 3/4 and 1/2; the student 1/2 for both: ln 2 each.
    losses = teacher_loss(torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]]), "multilabel", None)
    assert losses.tolist() == pytest.approx([math.log(2)])
    sure = teacher_loss(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[math.log(3), 0.0]]), "multilabel", None)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert sure.tolist() == pytest.approx([(entropy + math.log(2)) / 2])


def test_numbers_by_hand():
    losses = teacher_loss(torch.tensor([[10.0], [4.0]]), torch.tensor([[7.0], [4.0]]), "regress", torch.tensor([2.0]))
    assert losses.tolist() == [2.25, 0]


@pytest.mark.parametrize("task", ["classify", "multilabel", "regress"])
def test_shapes_halves_and_one_image_or_class(task):
    sd = torch.tensor([1.0])
    for n, classes in ((1, 1), (5, 1), (1, 3), (5, 3)):
        outputs, taught = torch.randn(2, n, classes).bfloat16()
        losses = teacher_loss(outputs, taught, task, sd)
        assert losses.shape == (n,)
        assert losses.dtype == torch.float32
        assert (losses >= -1e-6).all()


def trained(folder, classes=("blue", "red"), task="classify"):
    model = build("simple_cnn", classes=len(classes) or 1, image_px=16, pretrained=False)
    if task == "regress":
        model.set_units(3.0, 2.0)
    save_model(model, folder, classes=classes, image_px=16, task=task)
    return model


def ready(classes=("blue", "red"), task="classify"):
    return SimpleNamespace(images=SimpleNamespace(classes=tuple(classes), task=task))


def test_a_teacher_answers_and_does_not_learn(tmp_path):
    model = trained(tmp_path).eval()
    teacher = load_teacher(tmp_path, ready())
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    torch.testing.assert_close(teacher(pixels), model(pixels))
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_of_numbers_keeps_its_unit(tmp_path):
    trained(tmp_path, (), "regress")
    assert load_teacher(tmp_path, ready((), "regress")).target_sd == 2.0


@pytest.mark.parametrize("others", [("red", "blue"), ("blue", "red", "green"), ("blue",)])
def test_other_classes_are_refused_by_name(tmp_path, others):
    trained(tmp_path)
    with pytest.raises(SettingError, match=r"2 classes \('blue', 'red'\), but these images have .*take a teacher"):
        load_teacher(tmp_path, ready(others))


def test_another_task_is_refused(tmp_path):
    trained(tmp_path)
    with pytest.raises(SettingError, match="learnt task='classify', but these images have task='multilabel'"):
        load_teacher(tmp_path, ready(task="multilabel"))


def test_a_thousand_classes_fit_into_a_message(tmp_path):
    trained(tmp_path)
    with pytest.raises(SettingError, match=r"1,000 classes \('0', '1', .*'9', …, '999'\)"):
        load_teacher(tmp_path, ready([str(i) for i in range(1000)]))


def test_no_run_no_teacher(tmp_path):
    with pytest.raises(NotFound, match="No trained model in"):
        load_teacher(tmp_path, ready())
