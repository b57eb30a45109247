"""The judge: shapes, the loss by hand, accuracy, refusals."""

import pytest
import torch
import torch.nn.functional as F

from dgm.nn.classifier import FEATURES, Classifier
from dgm.recipes import avatar_classifier, digit_classifier
from dgm.training import fit


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (2, 5, 9)])
@pytest.mark.parametrize("classes", [(10,), (7, 2)])
def test_shapes_and_probabilities(shape, classes):
    model, x = Classifier(shape, classes).double(), torch.rand(4, *shape).double()
    assert model.features(x).shape == (4, FEATURES)
    assert [logits.shape for logits in model(x)] == [(4, count) for count in classes]
    for question in range(len(classes)):
        torch.testing.assert_close(model.probabilities(x, question).sum(1), torch.ones(4).double())


def test_the_loss_is_the_sum_over_questions():
    model, x = Classifier((1, 8, 8), (4, 3)).double(), torch.rand(6, 1, 8, 8).double()
    labels = torch.stack([torch.arange(6) % 4, torch.arange(6) % 3], 1)
    by_hand = [
        -logits.log_softmax(1)[i, labels[i, question]] / 6 for question, logits in enumerate(model(x)) for i in range(6)
    ]
    torch.testing.assert_close(model.loss(x, labels), torch.stack(by_hand).sum())


def test_labels_of_one_question_need_no_column():
    model, x, labels = Classifier((1, 8, 8), (4,)), torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(model.loss(x, labels), F.cross_entropy(model(x)[0], labels))
    torch.testing.assert_close(model.loss(x, labels), model.loss(x, labels[:, None]))


def test_accuracy_counts_right_answers():
    model, x = Classifier((1, 8, 8), (4, 3)), torch.rand(40, 1, 8, 8)
    right = torch.stack([logits.argmax(1) for logits in model(x)], 1)
    half = right.clone()
    half[:20, 1] = (half[:20, 1] + 1) % 3
    assert model.accuracy(x, right).tolist() == [1.0, 1.0]
    assert model.accuracy(x, half).tolist() == [1.0, 0.5]


def test_it_learns():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (200,), generator=generator)
    x = 0.5 * torch.rand(200, 1, 8, 8, generator=generator)
    x[labels == 1, :, :, :4] += 0.5  # bright on the left
    torch.manual_seed(0)
    model = Classifier((1, 8, 8), (2,))
    fit(model, (x[:150], labels[:150]), steps=60)
    assert model.accuracy(x[150:], labels[150:]).item() == 1.0


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda m: m.features(torch.rand(2, 1, 8, 7)), ValueError, "x: expected shape"),
        (lambda m: m.features(2 * torch.ones(2, 1, 8, 8)), ValueError, r"x: expected values in \[0, 1\]"),
        (lambda m: m(torch.full((2, 1, 8, 8), float("nan"))), ValueError, "x: expected finite"),
        (lambda m: m(torch.ones(2, 1, 8, 8).long()), TypeError, "x: expected dtype float"),
        (lambda m: m(torch.ones(0, 1, 8, 8)), ValueError, "x: expected shape"),
        (lambda m: m.loss(torch.rand(2, 1, 8, 8), torch.zeros(2).long()), ValueError, "labels: expected shape"),
        (lambda m: m.loss(torch.rand(2, 1, 8, 8), torch.zeros(2, 2)), TypeError, "labels: expected dtype int"),
        (lambda m: m.loss(torch.rand(2, 1, 8, 8), torch.full((2, 2), 3)), ValueError, r"labels\[:, 1\]: expected"),
        (lambda m: m.accuracy(torch.rand(2, 1, 8, 8), [1, 2]), TypeError, "labels: expected a torch.Tensor"),
        (lambda m: m.probabilities(torch.rand(2, 1, 8, 8), 2), ValueError, "question: expected a number below 2"),
        (lambda m: Classifier((1, 8, 8), ()), ValueError, "classes: expected at least one"),
        (lambda m: Classifier((1, 8, 8), (1,)), ValueError, "classes: expected at least 2"),
        (lambda m: Classifier((1, 0, 8), (2,)), ValueError, "shape: expected at least 1"),
    ],
)
def test_bad_input_is_named(call, error, told):
    with pytest.raises(error, match=f"^{told}"):
        call(Classifier((1, 8, 8), (4, 3)))


# --- the judges of the package -----------------------------------------------------------------------------------


def test_the_judges_are_good_and_were_not_shown_the_test_split():
    digit, avatar = digit_classifier.evaluate(), avatar_classifier.evaluate()
    assert digit["test accuracy"] >= 0.98
    assert digit["test accuracy, thresholded"] >= 0.975
    assert avatar["test accuracy"] >= 0.995
    assert avatar["test accuracy, hair colour"] <= 399 / 400  # one test avatar has blue hair, no training avatar has


def test_a_judge_knows_data_from_noise():
    noise = torch.rand(300, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    drawn = digit_classifier.sample(300)
    near, far = digit_classifier.judge(drawn), digit_classifier.judge(noise)
    assert near["FD"] < far["FD"] / 10
    assert near["KD"] < far["KD"] / 10
    assert near["precision"] > 0.5 > far["precision"]
    assert 5 < near["inception score"] <= 10


def test_larger_avatars_are_averaged_down():
    small = avatar_classifier.sample(5)
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(avatar_classifier.features(large), avatar_classifier.features(small))
    with pytest.raises(ValueError, match=r"^images: expected sides of a multiple of 16"):
        avatar_classifier.features(small[:, :, :15, :15])
