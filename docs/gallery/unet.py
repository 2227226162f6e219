"""U-Net (Ronneberger et al. 2015) of four levels, with one pooling layer for all of them."""

import numpy as np

import tracer_layers as nn


class DoubleConv(nn.Module):
    def __init__(self, inputs, outputs):
        self.net = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.net(x)


class UNet(nn.Module):
    def __init__(self, width=8, classes=2):
        widths = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(map(DoubleConv, [1, *widths[:-1]], widths))
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList([nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[-2::-1]])
        self.join = nn.ModuleList([DoubleConv(2 * w, w) for w in widths[-2::-1]])
        self.out = nn.Conv2d(width, classes, 1)

    def forward(self, x):
        skips = []
        for level, down in enumerate(self.down):
            if level:
                skips.append(x)
                x = self.pool(x)
            x = down(x)
        for up, join in zip(self.up, self.join, strict=True):
            x = join(np.concatenate([skips.pop(), up(x)], axis=1))
        return self.out(x)


def build_model():
    return UNet()


def example_inputs():
    return np.random.default_rng(0).standard_normal((2, 1, 32, 32)).astype(np.float32)


targets = np.zeros((2, 32, 32), dtype=np.int64)
loss = nn.CrossEntropyLoss()
