"""A recursive network over a parse tree (Socher et al. 2013): the module calls itself."""

import numpy as np

import tracer_layers as nn

SENTENCE = ((("the", "old"), "man"), ("sat", ("by", ("the", "sea"))))
WORDS = {word: index for index, word in enumerate(("the", "old", "man", "sat", "by", "sea"))}


class Tree(nn.Module):
    def __init__(self, width=16):
        self.word = nn.Embedding(len(WORDS), width)
        self.compose = nn.Linear(2 * width, width)

    def forward(self, tree):
        if isinstance(tree, str):
            return self.word(np.array([WORDS[tree]]))
        left, right = (self(part) for part in tree)
        return np.tanh(self.compose(np.concatenate([left, right], axis=-1)))


class Sentiment(nn.Module):
    def __init__(self, width=16, classes=3):
        self.tree = Tree(width)
        self.head = nn.Linear(width, classes)

    def forward(self, tree):
        return self.head(self.tree(tree))


def build_model():
    return Sentiment()


def example_inputs():
    return (SENTENCE,)


targets = np.array([2])
loss = nn.CrossEntropyLoss()
