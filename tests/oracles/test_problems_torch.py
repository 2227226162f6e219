"""DeepOBS's convolutional networks against twins written in PyTorch: outputs and gradients."""

import numpy as np
import pytest

import tracer
import tracer_training as training

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.oracle


def padded(layer, size, kernel, stride):
    """A layer after TensorFlow's "same" padding of inputs of this size, as DeepOBS writes it."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before = total // 2
    return torch.nn.Sequential(
        torch.nn.ZeroPad2d((before, total - before, before, total - before)), layer
    )


def twin_2c2d():
    nn = torch.nn
    return nn.Sequential(
        *(padded(nn.Conv2d(1, 32, 5), 28, 5, 1), nn.ReLU(), padded(nn.MaxPool2d(2), 28, 2, 2)),
        *(padded(nn.Conv2d(32, 64, 5), 14, 5, 1), nn.ReLU(), padded(nn.MaxPool2d(2), 14, 2, 2)),
        *(nn.Flatten(), nn.Linear(3136, 1024), nn.ReLU(), nn.Linear(1024, 10)),
    )


def twin_3c3d():
    nn = torch.nn
    return nn.Sequential(
        *(nn.Conv2d(3, 64, 5), nn.ReLU(), padded(nn.MaxPool2d(3, 2), 28, 3, 2)),
        *(nn.Conv2d(64, 96, 3), nn.ReLU(), padded(nn.MaxPool2d(3, 2), 12, 3, 2)),
        *(padded(nn.Conv2d(96, 128, 3), 6, 3, 1), nn.ReLU(), padded(nn.MaxPool2d(3, 2), 6, 3, 2)),
        *(nn.Flatten(), nn.Linear(1152, 512), nn.ReLU()),
        *(nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)),
    )


def twin_all_cnn_c():
    """Without dropout: in evaluation mode there is none."""
    nn = torch.nn
    layers = []
    for into, out, size, kernel, stride in [
        *((3, 96, 32, 3, 1), (96, 96, 32, 3, 1), (96, 96, 32, 3, 2)),
        *((96, 192, 16, 3, 1), (192, 192, 16, 3, 1), (192, 192, 16, 3, 2)),
    ]:
        layers += [padded(nn.Conv2d(into, out, kernel, stride), size, kernel, stride), nn.ReLU()]
    for into, out, kernel in ((192, 192, 3), (192, 192, 1), (192, 100, 1)):
        layers += [nn.Conv2d(into, out, kernel), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("name", "twin", "shape", "classes"),
    [
        ("fmnist_2c2d", twin_2c2d, (1, 28, 28), 10),
        ("cifar10_3c3d", twin_3c3d, (3, 32, 32), 10),
        ("cifar100_allcnnc", twin_all_cnn_c, (3, 32, 32), 100),
    ],
)
def test_outputs_and_gradients_are_those_of_the_twin(name, twin, shape, classes):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((3, *shape)), rng.integers(0, classes, 3)
    data = training.ArrayDataset(x, y)
    problem = getattr(training.problems, name)(rng=1, data=(data, data))
    model, other = problem.model.double().eval(), twin().double()
    names = [name for name, _ in model.named_parameters()]
    theirs = list(other.parameters())
    for (_, parameter), peer in zip(model.named_parameters(), theirs, strict=True):
        peer.data = torch.from_numpy(parameter.data.copy())
    with tracer.Tape() as tape:
        outputs = model(x)
        loss = problem.loss(outputs, y)
    gradient = tape.backward(loss)["grad"]
    expected = other(torch.from_numpy(x))
    torch.nn.functional.cross_entropy(expected, torch.from_numpy(y)).backward()
    scale = abs(expected.detach().numpy()).max()
    np.testing.assert_allclose(outputs.data, expected.detach().numpy(), atol=1e-12 * scale)
    for called, peer in zip(names, theirs, strict=True):
        size = abs(peer.grad.numpy()).max()
        assert size > 0
        np.testing.assert_allclose(gradient[called], peer.grad.numpy(), atol=1e-11 * size)
