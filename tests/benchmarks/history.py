"""What made trace-net faster: each change with what it was measured on, before and after."""

from __future__ import annotations

from typing import NamedTuple


class Change(NamedTuple):
    """A change and the shortest times before and after it, in milliseconds, same machine and day.

    Both took turns, in one process or in two. Where it says "processor", they are of both threads
    together, as other programs were running.
    """

    what: str
    where: str
    before: float
    after: float


CHANGES = (
    # -- memory, threads and blocks
    Change("Freed memory stays with the process", "`grad`, LSTM", 24, 18),
    Change("Freed memory stays with the process", "`diag_ggn_exact`, LSTM", 130, 84),
    Change("Convolutions in blocks that stay in cache, one on each thread, each with products of "
           "one thread", "a convolution", 21.7, 15.0),
    Change("With convolutions about, products on the same threads: OpenBLAS's own spin on for "
           "0.1 s", "`grad`, convolutions", 137, 110),
    Change("Blocks of equal length and 2.5 MB, the same number for each thread",
           "2c2d, second convolution", 26.2, 18.5),
    Change("The same", "its weight's gradient", 29.1, 21.5),
    Change("Products added up where they belong (`sgemm` with beta = 1), along the kernel's first "
           "axis", "input gradient, k = 5, 64 to 32 channels", 22.8, 18.9),
    Change("The same", "input gradient, k = 3, 96 to 64 channels", 18.0, 14.5),
    Change("The same", "input gradient, k = 5, 64 to 3 channels", 27.4, 16.9),
    # -- elementwise
    Change("ReLU on threads, against a row of zeros", "128 x 32 x 28 x 28", 1.21, 0.83),
    Change("ReLU's gradient by masked bits", "128 x 32 x 28 x 28", 2.9, 1.6),
    Change("Maximum over windows, axis after axis", "3c3d, first pooling", 5.8, 4.3),
    Change("Its winners in bytes", "3c3d, first pooling", 7.2, 5.7),
    Change("Its gradient, nothing zeroed beforehand", "2c2d, second pooling", 3.4, 1.3),
    Change("Constant padding lies in memory as what it pads", "`grad`, 3c3d padded, processor",
           90.4, 65.8),
    Change("The same", "`kflr`, 3c3d padded, processor", 440, 290),
    Change("It copies in blocks on threads", "64 x 64 x 28 x 28", 2.6, 0.5),
    Change("Cotangents of maxima over overlapping windows put in place by a sparse product",
           "64 x 64 x 29 x 29, kernel 3, stride 2", 5.1, 2.5),
    Change("Ten rows of them by the places of their winners", "64 x 32 x 28 x 28, kernel 2",
           16.5, 7.3),
    Change("They wait: padding has none of its own, ReLU masks as many elements as windows",
           "masks of `grad`, 3c3d padded, processor", 2.75, 0.67),
    Change("These and winners found while blocks are in cache", "`grad`, 3c3d padded, processor",
           65.8, 59.5),
    Change("The same", "`kflr`, 3c3d padded, processor", 290, 241),
    Change("Biases of convolutions: long rows are summed first", "2c2d, first bias", 1.68, 0.44),
    Change("Softmax of few classes, class by class", "3,200 x 10", 0.250, 0.053),
    # -- recurrence
    Change("A layer's loop as one operation, gates in blocks of their own, one product for each "
           "weight", "`grad`, LSTM", 13.2, 8.9),
    Change("The same", "`grad`, RNN", 4.6, 2.5),
    Change("The same", "`grad`, GRU", 13.0, 7.7),
    Change("The same", "`batch_l2`, LSTM", 17.9, 10.7),
    Change("The same", "`diag_ggn_exact`, LSTM", 69.6, 49.4),
    # -- sweeps
    Change("A row less for the softmax", "`diag_ggn_exact`, 2c2d", 497, 472),
    Change("Less set-up of a sweep, names of parameters kept", "`grad`, logreg", 0.361, 0.265),
    Change("Shares of rows worked out once for all parameters; means written out, not broadcast",
           "`grad`, logreg", 0.263, 0.241),
    Change("Values that the record holds are not computed again", "`diag_h`, logreg", 1.088, 0.787),
    Change("Samples followed with fewer looks", "LSTM, by steps", 1.030, 0.618),
    Change("Small stacks times factors of as many axes, which NumPy need not broadcast; leaves "
           "looked for once", "`grad`, 1,000 multiplications", 2.51, 2.02),
    Change("Nodes without a constructor, operators that record by themselves",
           "recording of the same", 1.30, 1.15),
    Change("Rules go on from what the forward pass kept; targets checked once, one-hot rows looked "
           "up, less set-up of a sweep", "`grad`, logreg", 0.236, 0.198),
    Change("GELU keeps its normal distribution's values", "16 x 64 x 512, there and back",
           14.5, 8.4),
    # -- curvature and attention
    Change("Products of a large matrix with itself by OpenBLAS's threads, or in blocks of 512 "
           "columns where convolutions are about; factors scaled in place", "`kfac`, mlp",
           17.8, 10.7),
    Change("The same", "`kflr`, mlp", 48.6, 41.9),
    Change("The same", "`kflr`, logreg", 1.87, 1.38),
    Change("The Hessian's rows: no gradient and no values below the first operation that bends",
           "`diag_h`, mlp", 21.9, 18.0),
    Change("The same", "`diag_h`, 2c2d", 647, 521),
    Change("Input factors of convolutions from what rows of the kernel share, not from the matrix "
           "of all windows", "`kfac`, 2c2d", 214, 146),
    Change("The same", "`kfac`, 3c3d", 202, 152),
    Change("The same", "`kfac`, All-CNN-C", 487, 342),
    Change("Products of samples in blocks: OpenBLAS's threads stay asleep, and new memory comes to "
           "both cores", "`grad_batch`, 2c2d", 333, 210),
    Change("The same", "`grad_batch`, 3c3d", 277, 200),
    Change("The same", "`grad_batch`, All-CNN-C", 336, 231),
    Change("Gram matrices of samples in blocks, likewise", "`batch_l2`, 3c3d", 178, 142),
    Change("The same", "`batch_l2`, All-CNN-C", 272, 227),
    Change("Sums along rows as products; layer normalisation keeps its rates",
           "`grad`, Transformer", 27.6, 24.9),
    Change("Averages of rows pass elementwise operations as matrices; of what maps all samples "
           "alike, each row lies in one", "`kfra`, mlp, one thread", 7500, 61),
    Change("The rule of attention's weights with two arrays less", "16 x 4 x 64 x 64", 0.36, 0.23),
)  # fmt: skip
