"""MobileNetV2 (Sandler et al. 2018) with narrow layers: seventeen inverted residuals."""

import numpy as np

import tracer_layers as nn


def layer(inputs, outputs, kernel=3, stride=1, groups=1):
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


class InvertedResidual(nn.Module):
    def __init__(self, inputs, outputs, stride, expansion):
        width = inputs * expansion
        layers = [layer(inputs, width, 1)] if expansion > 1 else []
        layers += [
            layer(width, width, 3, stride, groups=width),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs
        self.options = f"expansion={expansion}, stride={stride}"

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)

    def extra_repr(self):
        return self.options


class MobileNetV2(nn.Module):
    #: expansion, channels, blocks, stride of the first
    STAGES = (
        (1, 4, 1, 1), (6, 6, 2, 2), (6, 8, 3, 2), (6, 16, 4, 2),
        (6, 24, 3, 1), (6, 40, 3, 2), (6, 80, 1, 1),
    )  # fmt: skip

    def __init__(self, classes=10):
        blocks, inputs = [layer(3, 8, stride=2)], 8
        for expansion, outputs, count, stride in self.STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, step, expansion))
                inputs = outputs
        self.features = nn.Sequential(*blocks, layer(inputs, 160, 1))
        self.classifier = nn.Linear(160, classes)

    def forward(self, x):
        return self.classifier(np.mean(self.features(x), axis=(2, 3)))


def build_model():
    return MobileNetV2()


def example_inputs():
    return np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)


targets = np.array([1, 7])
loss = nn.CrossEntropyLoss()
